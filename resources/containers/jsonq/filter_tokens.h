/* The small change of filter text: blanks, names and operators. */

#ifndef JSONQ_FILTER_TOKENS_H
#define JSONQ_FILTER_TOKENS_H

#include "filter.h"

/* From the loosest binding to the tightest. */
enum level {
    LEVEL_PIPE = 1,
    LEVEL_COMMA,
    LEVEL_ALTERNATIVE,
    LEVEL_OR,
    LEVEL_AND,
    LEVEL_COMPARE,
    LEVEL_SUM,
    LEVEL_PRODUCT,
};

struct operator {
    const char *symbol;
    enum operation operation;
    enum level level;
    enum { LEFT, RIGHT, NEITHER } side; /* how a chain of the same level groups */
};

/* The first byte after blanks and comments; 0 at the end. */
unsigned char next_char(struct scanner *scanner);

/* Skips blanks and then `wanted`, if that is what comes next. */
bool take(struct scanner *scanner, char wanted);

/* Whether a name can start with this byte. */
bool starts_name(unsigned char c);

/* The name at the current place; empty if there is none. */
struct text peek_name(const struct scanner *scanner);

bool is_word(struct text name, const char *word);

/* The operator after blanks; NULL if something else comes next. */
const struct operator *peek_operator(struct scanner *scanner);

#endif
