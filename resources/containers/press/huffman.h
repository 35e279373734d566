/* Canonical Huffman codes: a code is known by the lengths of its words alone. */

#ifndef PRESS_HUFFMAN_H
#define PRESS_HUFFMAN_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MAX_CODE_BITS = 12, /* so that one look-up in a small table decodes a word */
    MAX_SYMBOLS = 288,
    DECODE_ENTRIES = 1 << MAX_CODE_BITS,
};

/* Chooses the lengths (0 for symbols that do not occur) of a code that is best
 * for these frequencies, or nearly so where MAX_CODE_BITS is in the way. */
void huffman_choose_lengths(const uint32_t *frequencies, int symbols, uint8_t *lengths);

/* The words, with their bits reversed as bits_put wants them. */
void huffman_words(const uint8_t *lengths, int symbols, uint16_t *words);

/* Fills a table whose entry for the next MAX_CODE_BITS bits is the symbol times
 * 16 plus the length of its word; 0 where no word fits. False if the lengths are
 * not those of a code: too many words, or fewer than would fill it (which only
 * a code of one word or none may have). */
bool huffman_decoder(const uint8_t *lengths, int symbols, uint16_t *table);

#endif
