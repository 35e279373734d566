/* A coded payload is a stream of bits:
 *
 *   lengths of the words of the two codes, then per token
 *     a word for a literal, or
 *     a word for a length's slot, its extra bits, a word for a distance's slot,
 *     its extra bits
 *
 * until all raw bytes are there. A slot stands for a range of values, two for
 * every power of two; the extra bits say which of its range is meant.
 *
 * The lengths come as four bits each; after a 0 four more bits say how many
 * further zeros follow. */

#include "block.h"

#include <string.h>

#include "bits.h"
#include "huffman.h"
#include "match.h"

enum {
    LITERALS = 256,
    LENGTH_SLOTS = 28, /* values below 2^14 */
    MAIN_SYMBOLS = LITERALS + LENGTH_SLOTS,
    DISTANCE_SYMBOLS = 36, /* values below 2^18 */
    MAX_ZERO_RUN = 16,
};

_Static_assert((int)MAIN_SYMBOLS <= (int)MAX_SYMBOLS, "the main code has to fit");
_Static_assert(BLOCK_RAW_BYTES == 1 << 18, "distances have to fit their slots and tokens");

struct slot {
    unsigned number;
    unsigned extra_bits;
    uint32_t extra;
};

static struct slot slot_of(uint32_t value)
{
    struct slot slot = { value, 0, 0 };
    if (value >= 4) {
        unsigned top = 31 - (unsigned)__builtin_clz(value);
        slot.extra_bits = top - 1;
        slot.number = 2 * top + (value >> (top - 1) & 1);
        slot.extra = value & ((1u << slot.extra_bits) - 1);
    }
    return slot;
}

static uint32_t value_of(unsigned number, struct bit_reader *reader)
{
    if (number < 4)
        return number;
    unsigned extra_bits = number / 2 - 1;
    return (2 + number % 2) << extra_bits | bits_take(reader, extra_bits);
}

/* ---- coding --------------------------------------------------------------- */

static token tokens[BLOCK_RAW_BYTES];

struct code {
    uint32_t frequencies[MAX_SYMBOLS];
    uint8_t lengths[MAX_SYMBOLS];
    uint16_t words[MAX_SYMBOLS];
};

static void choose_code(struct code *code, int symbols)
{
    huffman_choose_lengths(code->frequencies, symbols, code->lengths);
    huffman_words(code->lengths, symbols, code->words);
}

static void put_lengths(struct bit_writer *writer, const uint8_t *lengths, int symbols)
{
    for (int i = 0; i < symbols; i++) {
        bits_put(writer, lengths[i], 4);
        if (lengths[i] == 0) {
            int run = 1;
            while (run < MAX_ZERO_RUN && i + run < symbols && lengths[i + run] == 0)
                run++;
            bits_put(writer, (uint32_t)run - 1, 4);
            i += run - 1;
        }
    }
}

static void put_symbol(struct bit_writer *writer, const struct code *code, unsigned symbol)
{
    bits_put(writer, code->words[symbol], code->lengths[symbol]);
}

static void put_token(struct bit_writer *writer, const struct code *main_code,
                      const struct code *distance_code, token packed)
{
    uint32_t distance = token_distance(packed);
    if (distance == 0) {
        put_symbol(writer, main_code, packed); /* a literal is its byte */
        return;
    }
    struct slot slot = slot_of(token_length(packed) - MIN_MATCH);
    put_symbol(writer, main_code, LITERALS + slot.number);
    bits_put(writer, slot.extra, slot.extra_bits);
    slot = slot_of(distance);
    put_symbol(writer, distance_code, slot.number);
    bits_put(writer, slot.extra, slot.extra_bits);
}

size_t block_encode(const uint8_t *raw, size_t count, int level, uint8_t *coded, size_t room)
{
    static struct code main_code, distance_code;
    size_t token_count = match_block(raw, count, level, tokens);

    memset(main_code.frequencies, 0, sizeof main_code.frequencies);
    memset(distance_code.frequencies, 0, sizeof distance_code.frequencies);
    for (size_t i = 0; i < token_count; i++) {
        uint32_t distance = token_distance(tokens[i]);
        if (distance == 0) {
            main_code.frequencies[tokens[i]]++;
        } else {
            main_code.frequencies[LITERALS + slot_of(token_length(tokens[i]) - MIN_MATCH).number]++;
            distance_code.frequencies[slot_of(distance).number]++;
        }
    }
    choose_code(&main_code, MAIN_SYMBOLS);
    choose_code(&distance_code, DISTANCE_SYMBOLS);

    struct bit_writer writer = { .at = coded, .end = coded + room };
    put_lengths(&writer, main_code.lengths, MAIN_SYMBOLS);
    put_lengths(&writer, distance_code.lengths, DISTANCE_SYMBOLS);
    for (size_t i = 0; i < token_count && !writer.overflowed; i++)
        put_token(&writer, &main_code, &distance_code, tokens[i]);
    bits_finish(&writer);
    return writer.overflowed ? 0 : (size_t)(writer.at - coded);
}

/* ---- decoding ------------------------------------------------------------- */

static bool take_lengths(struct bit_reader *reader, uint8_t *lengths, int symbols)
{
    for (int i = 0; i < symbols; i++) {
        bits_fill(reader);
        lengths[i] = (uint8_t)bits_take(reader, 4);
        if (lengths[i] == 0) {
            int further = (int)bits_take(reader, 4);
            if (further > symbols - 1 - i)
                return false;
            memset(lengths + i + 1, 0, (size_t)further);
            i += further;
        }
    }
    return !bits_overrun(reader);
}

static bool take_decoder(struct bit_reader *reader, int symbols, uint16_t *table)
{
    uint8_t lengths[MAX_SYMBOLS];
    return take_lengths(reader, lengths, symbols) && huffman_decoder(lengths, symbols, table);
}

/* The next symbol; the bits of its word are dropped. False if there is none. */
static bool take_symbol(struct bit_reader *reader, const uint16_t *table, unsigned *symbol)
{
    uint16_t entry = table[bits_peek(reader, MAX_CODE_BITS)];
    bits_drop(reader, entry & 15);
    *symbol = entry >> 4;
    return entry != 0;
}

static void copy_match(uint8_t *to, uint32_t distance, uint32_t length)
{
    const uint8_t *from = to - distance;
    if (distance >= length) {
        memcpy(to, from, length);
        return;
    }
    for (uint32_t i = 0; i < length; i++) /* what is copied may be copied again */
        to[i] = from[i];
}

const char *block_decode(const uint8_t *coded, size_t coded_count, uint8_t *raw, size_t count)
{
    static uint16_t main_table[DECODE_ENTRIES], distance_table[DECODE_ENTRIES];
    struct bit_reader reader = { .at = coded, .end = coded + coded_count };
    if (!take_decoder(&reader, MAIN_SYMBOLS, main_table) ||
        !take_decoder(&reader, DISTANCE_SYMBOLS, distance_table))
        return "the code lengths are not those of a code";

    size_t at = 0;
    while (at < count) {
        unsigned symbol;
        /* One fill is enough for a token: 12 + 12 bits for the length, 12 + 16
         * for the distance, of 57. */
        bits_fill(&reader);
        if (!take_symbol(&reader, main_table, &symbol))
            return "a word is not in the code";
        if (symbol < LITERALS) {
            raw[at++] = (uint8_t)symbol;
        } else {
            uint32_t length = value_of(symbol - LITERALS, &reader) + MIN_MATCH;
            if (!take_symbol(&reader, distance_table, &symbol))
                return "a word is not in the code";
            uint32_t distance = value_of(symbol, &reader);
            if (distance == 0 || distance > at)
                return "a reference points before the block";
            if (length > count - at)
                return "a reference reaches beyond the block";
            copy_match(raw + at, distance, length);
            at += length;
        }
        if (bits_overrun(&reader))
            return "the coded bytes end too early";
    }
    if (reader.at != reader.end || reader.held_count - reader.missing >= 8 || reader.held != 0)
        return "coded bits are left over";
    return NULL;
}
