/* What JSON text and filter text have in common: a place in a text, what went
 * wrong there, and the two literals with an inside, strings and numbers. */

#ifndef JSONQ_SCAN_H
#define JSONQ_SCAN_H

#include "value.h"

struct scanner {
    const char *start;
    const char *at;
    const char *end;
    struct arena *arena;
    const char *error;    /* what was wrong; NULL while all is well */
    const char *error_at; /* where */
};

struct position {
    size_t line;   /* from 1 */
    size_t column; /* from 1, in characters */
};

struct scanner scanner_over(const char *bytes, size_t length, struct arena *arena);

/* Notes the first error; later ones are its consequences. Always false. */
bool scan_error(struct scanner *scanner, const char *at, const char *error);

struct position scan_position(const struct scanner *scanner, const char *at);

/* The byte at the current place, or 0 at the end. */
static inline unsigned char scan_peek(const struct scanner *scanner)
{
    return scanner->at < scanner->end ? (unsigned char)*scanner->at : 0;
}

/* A string, from its opening quote. One without escapes is a part of the text
 * scanned, which therefore has to live as long as the string. */
bool scan_string(struct scanner *scanner, struct text *string);

/* A number, from its sign or first digit, which likewise stays in place. */
bool scan_number(struct scanner *scanner, const struct value **number);

/* The bytes of the UTF-8 sequence at `at`; 0 if it is none (RFC 3629). */
size_t utf8_length(const char *at, const char *end);

#endif
