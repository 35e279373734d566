#include "match.h"

#include <stdbool.h>
#include <string.h>

enum { HASH_BITS = 16, NONE = -1 };

/* Chains of places with the same hash of their next four bytes, newest first. */
static int32_t newest[1 << HASH_BITS];
static int32_t older[BLOCK_RAW_BYTES];

static const struct effort {
    int chain; /* places tried for a match */
    uint32_t good_enough; /* a match of this length ends the search */
    bool lazy; /* look whether a match one byte later is longer */
} efforts[MAX_LEVEL + 1] = {
    [1] = { 2, 16, false },  [2] = { 4, 24, false },   [3] = { 12, 48, false },
    [4] = { 8, 32, true },   [5] = { 16, 64, true },   [6] = { 40, 128, true },
    [7] = { 96, 256, true }, [8] = { 256, 512, true }, [9] = { 1024, MAX_MATCH, true },
};

struct found {
    uint32_t length; /* 0 if there is none */
    uint32_t distance;
};

static uint32_t load32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static uint32_t hash_at(const uint8_t *bytes)
{
    return load32(bytes) * 0x9e3779b1u >> (32 - HASH_BITS);
}

static void enter(const uint8_t *bytes, size_t at)
{
    uint32_t hash = hash_at(bytes + at);
    older[at] = newest[hash];
    newest[hash] = (int32_t)at;
}

/* How many bytes from the two places on are equal; `a` is the earlier place. */
static uint32_t equal_bytes(const uint8_t *a, const uint8_t *b, uint32_t limit)
{
    uint32_t length = 0;
    while (length + 8 <= limit) {
        uint64_t left, right;
        memcpy(&left, a + length, 8);
        memcpy(&right, b + length, 8);
        if (left != right) /* little-endian: the first difference is lowest */
            return length + (uint32_t)__builtin_ctzll(left ^ right) / 8;
        length += 8;
    }
    while (length < limit && a[length] == b[length])
        length++;
    return length;
}

/* The longest match at `at` that is longer than `beat`. */
static struct found search(const uint8_t *bytes, size_t count, size_t at,
                           const struct effort *effort, uint32_t beat)
{
    struct found best = { 0, 0 };
    uint32_t limit = count - at < MAX_MATCH ? (uint32_t)(count - at) : MAX_MATCH;
    if (limit < MIN_MATCH)
        return best;
    uint32_t to_beat = beat < MIN_MATCH - 1 ? MIN_MATCH - 1 : beat;
    int32_t place = newest[hash_at(bytes + at)];
    for (int tries = effort->chain; place != NONE && tries > 0 && to_beat < limit; tries--) {
        /* Most candidates fail at the byte that would make them longer. */
        if (bytes[(size_t)place + to_beat] == bytes[at + to_beat]) {
            uint32_t length = equal_bytes(bytes + place, bytes + at, limit);
            if (length > to_beat) {
                to_beat = length;
                best.length = length;
                best.distance = (uint32_t)(at - (size_t)place);
                if (length >= effort->good_enough)
                    break;
            }
        }
        place = older[place];
    }
    return best;
}

size_t match_block(const uint8_t *bytes, size_t count, int level, token *tokens)
{
    const struct effort *effort = &efforts[level];
    size_t produced = 0, at = 0;
    /* The last places have no four bytes to hash. */
    size_t hashable = count >= MIN_MATCH ? count - MIN_MATCH + 1 : 0;
    for (size_t i = 0; i < 1 << HASH_BITS; i++)
        newest[i] = NONE;

    struct found match = search(bytes, count, at, effort, 0);
    while (at < count) {
        struct found next = { 0, 0 };
        if (at < hashable)
            enter(bytes, at);
        if (match.length == 0) {
            tokens[produced++] = token_literal(bytes[at++]);
            match = search(bytes, count, at, effort, 0);
            continue;
        }
        if (effort->lazy && match.length < effort->good_enough && at + 1 < hashable)
            next = search(bytes, count, at + 1, effort, match.length);
        if (next.length > 0) {
            tokens[produced++] = token_literal(bytes[at++]);
            match = next;
            continue;
        }
        tokens[produced++] = token_match(match.distance, match.length);
        size_t end = at + match.length;
        for (at++; at < end; at++) {
            if (at < hashable)
                enter(bytes, at);
        }
        match = search(bytes, count, at, effort, 0);
    }
    return produced;
}
