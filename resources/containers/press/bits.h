/* Bits in and out of bytes, lowest bit first. */

#ifndef PRESS_BITS_H
#define PRESS_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writing stops at the end of the room; `overflowed` then says so. */
struct bit_writer {
    uint8_t *at;
    uint8_t *end;
    uint64_t held; /* bits not yet written */
    unsigned held_count;
    bool overflowed;
};

/* At most 32 bits at a time. */
static inline void bits_put(struct bit_writer *writer, uint32_t bits, unsigned count)
{
    writer->held |= (uint64_t)bits << writer->held_count;
    writer->held_count += count;
    while (writer->held_count >= 8) {
        if (writer->at == writer->end) {
            writer->overflowed = true;
            writer->held_count = 0;
            return;
        }
        *writer->at++ = (uint8_t)writer->held;
        writer->held >>= 8;
        writer->held_count -= 8;
    }
}

/* Fills the last byte with zeros. */
static inline void bits_finish(struct bit_writer *writer)
{
    if (writer->held_count > 0)
        bits_put(writer, 0, 8 - writer->held_count);
}

/* Reading beyond the end gives zeros; `missing` then counts the bits made up. */
struct bit_reader {
    const uint8_t *at;
    const uint8_t *end;
    uint64_t held;
    unsigned held_count;
    unsigned missing;
};

/* Makes at least 57 bits available. */
static inline void bits_fill(struct bit_reader *reader)
{
    while (reader->held_count <= 56) {
        if (reader->at < reader->end)
            reader->held |= (uint64_t)*reader->at++ << reader->held_count;
        else
            reader->missing += 8;
        reader->held_count += 8;
    }
}

static inline uint32_t bits_peek(const struct bit_reader *reader, unsigned count)
{
    return (uint32_t)(reader->held & (((uint64_t)1 << count) - 1));
}

static inline void bits_drop(struct bit_reader *reader, unsigned count)
{
    reader->held >>= count;
    reader->held_count -= count;
}

static inline uint32_t bits_take(struct bit_reader *reader, unsigned count)
{
    uint32_t bits = bits_peek(reader, count);
    bits_drop(reader, count);
    return bits;
}

/* True once bits were used that were not there. */
static inline bool bits_overrun(const struct bit_reader *reader)
{
    return reader->missing > reader->held_count;
}

#endif
