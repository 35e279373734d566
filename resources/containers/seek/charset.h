/* Sets of Unicode code points. */

#ifndef SEEK_CHARSET_H
#define SEEK_CHARSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAST_CODE_POINT 0x10ffffu

struct charset_range {
    uint32_t first, last;
};

/* Ranges in any order, until charset_tidy puts them in ascending order, apart
 * from each other. */
struct charset {
    struct charset_range *ranges;
    size_t count;
    size_t capacity;
};

void charset_add(struct charset *set, uint32_t first, uint32_t last);
void charset_add_set(struct charset *set, const struct charset *other);
void charset_tidy(struct charset *set);

/* All code points that are not in the set; tidies it. */
void charset_negate(struct charset *set);

/* Adds the other case of every ASCII letter in the set. */
void charset_add_cases(struct charset *set);

/* Adds a class by its POSIX name (alpha, digit, ...), of ASCII but for `word`,
 * which has everything beyond ASCII too. False if there is none of that name. */
bool charset_add_class(struct charset *set, const char *name, size_t length);

/* Adds what \d, \w or \s stands for, or \D, \W, \S for all else. False for any
 * other letter. */
bool charset_add_escape(struct charset *set, char letter);

void charset_free(struct charset *set);

#endif
