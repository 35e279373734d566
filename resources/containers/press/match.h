/* LZ77: a block as literals and references to what was in it before. */

#ifndef PRESS_MATCH_H
#define PRESS_MATCH_H

#include <stddef.h>
#include <stdint.h>

#include "format.h"

enum {
    MIN_MATCH = 4,
    MAX_MATCH = MIN_MATCH + (1 << 14) - 1,
    MIN_LEVEL = 1,
    MAX_LEVEL = 9,
};

/* A literal byte (distance 0) or a reference, packed: there are as many tokens
 * as bytes in the worst case. */
typedef uint32_t token;

static inline token token_literal(uint8_t byte)
{
    return byte;
}

static inline token token_match(uint32_t distance, uint32_t length)
{
    return distance << 14 | (length - MIN_MATCH);
}

static inline uint32_t token_distance(token packed)
{
    return packed >> 14; /* below 2^18 = BLOCK_RAW_BYTES */
}

static inline uint32_t token_length(token packed)
{
    return (packed & 0x3fff) + MIN_MATCH;
}

/* Splits `count` (at most BLOCK_RAW_BYTES) bytes into tokens and returns how
 * many there are; `tokens` has room for `count`. A higher level searches longer
 * for longer matches. */
size_t match_block(const uint8_t *bytes, size_t count, int level, token *tokens);

#endif
