/* UTF-8 (RFC 3629): single characters, and ranges of characters as bytes. */

#ifndef SEEK_UTF8_H
#define SEEK_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { UTF8_MAX_BYTES = 4 };

/* Decodes the character at `at`. Returns its bytes, 0 if it is not UTF-8. */
size_t utf8_decode(const char *at, const char *end, uint32_t *code_point);

/* Strings of bytes, one byte from each of these ranges. */
struct utf8_sequence {
    int length;
    unsigned char first[UTF8_MAX_BYTES];
    unsigned char last[UTF8_MAX_BYTES];
};

/* Calls `take` with sequences that together are the encodings of exactly the
 * code points from `first` to `last` (leaving out surrogates, which have none). */
void utf8_sequences(uint32_t first, uint32_t last,
                    void (*take)(void *context, const struct utf8_sequence *sequence),
                    void *context);

#endif
