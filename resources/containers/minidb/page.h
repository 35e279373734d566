/* Pages: the unit of reading, writing, journaling and of everything in a file. */

#ifndef MINIDB_PAGE_H
#define MINIDB_PAGE_H

#include <stdint.h>

enum { PAGE_BYTES = 4096 };

/* Page 0 is the file's header, so that 0 can stand for "none" in links. */
typedef uint32_t page_number;

/* The first byte of every page but page 0. */
enum page_type {
    PAGE_LEAF = 1,     /* rows of a tree */
    PAGE_INTERIOR = 2, /* inner node of a tree */
    PAGE_OVERFLOW = 3, /* the rest of a long row */
    PAGE_FREE = 4,     /* to be used again */
};

/* Numbers are stored lowest byte first, at any offset. */
static inline void store16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static inline uint16_t load16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline void store32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static inline uint32_t load32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline void store64(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static inline uint64_t load64(const uint8_t *at)
{
    return load32(at) | (uint64_t)load32(at + 4) << 32;
}

#endif
