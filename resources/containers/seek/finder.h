/* Where in a line the match is: all threads of the program at once (Thompson's
 * construction, with the place each thread started at). Finding one match is
 * linear in the length of the line, and slower than the automaton by the size of
 * the pattern. */

#ifndef SEEK_FINDER_H
#define SEEK_FINDER_H

#include "program.h"

struct finder;

struct finder *finder_new(const struct program *program);

struct match {
    size_t start, end;
};

/* The leftmost match at or after `from`, and of those the longest. */
bool finder_find(struct finder *finder, const char *line, size_t length, size_t from,
                 struct match *match);

#endif
