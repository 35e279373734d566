/* Whether a line matches: a deterministic automaton, built as it is used.
 *
 * Each state stands for a set of places in the program, so each byte of a line
 * costs one look-up however complicated the pattern is. States are made when
 * first reached; when there are too many, all are thrown away. Time is linear in
 * the length of the line, memory is bounded. */

#ifndef SEEK_AUTOMATON_H
#define SEEK_AUTOMATON_H

#include "program.h"

struct automaton;

/* The program has to stay as it is and live as long as the automaton. */
struct automaton *automaton_new(const struct program *program);

bool automaton_matches(struct automaton *automaton, const char *line, size_t length);

#endif
