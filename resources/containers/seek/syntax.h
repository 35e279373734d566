/* Patterns as trees. */

#ifndef SEEK_SYNTAX_H
#define SEEK_SYNTAX_H

#include "charset.h"

enum node_kind {
    NODE_EMPTY,     /* matches nothing at all, everywhere */
    NODE_SET,       /* one character of a set */
    NODE_ASSERTION, /* a condition on the place, see below */
    NODE_SEQUENCE,  /* one child after the other */
    NODE_CHOICE,    /* any one child */
    NODE_REPEAT,    /* the child, `minimum` to `maximum` times */
};

enum assertion {
    AT_LINE_START,
    AT_LINE_END,
    AT_WORD_EDGE,     /* between a word character and another */
    NOT_AT_WORD_EDGE,
    NO_WORD_BEFORE,   /* the character before, if any, is no word character */
    NO_WORD_AFTER,
};

enum { UNLIMITED = -1, MAX_REPEAT = 1000, MAX_NESTING = 100 };

struct node {
    enum node_kind kind;
    struct node *last;     /* of the children, which know the one before them: */
    struct node *previous; /* patterns are compiled back to front */
    struct charset set;
    enum assertion assertion;
    int minimum, maximum;
    int depth; /* groups and repetitions inside each other, at most MAX_NESTING */
};

struct pattern_error {
    const char *message;
    size_t column; /* in characters, from 1 */
};

struct syntax {
    bool fixed;       /* the pattern is a string, not an expression */
    bool ignore_case; /* of ASCII letters */
    bool whole_words; /* no word character right before or after the match */
};

/* Reads a pattern. NULL with `error` set if it is none. */
struct node *pattern_parse(const char *pattern, struct syntax syntax, struct pattern_error *error);

void pattern_free(struct node *node);

#endif
