#include "huffman.h"

#include <stdlib.h>

struct leaf {
    uint32_t frequency;
    uint16_t symbol;
};

/* Rarest first; ties by symbol, so that the output depends on the input alone. */
static int compare_leaves(const void *a, const void *b)
{
    const struct leaf *left = a, *right = b;
    if (left->frequency != right->frequency)
        return left->frequency < right->frequency ? -1 : 1;
    return left->symbol < right->symbol ? -1 : 1;
}

/* Huffman's algorithm with two queues: the sorted leaves, and the inner nodes,
 * which come into being in order. Counts how many leaves lie at which depth. */
static void count_depths(const struct leaf *leaves, int count, int *at_depth, int max_depth)
{
    uint32_t weights[2 * MAX_SYMBOLS];
    uint16_t parents[2 * MAX_SYMBOLS], depths[2 * MAX_SYMBOLS];
    int next_leaf = 0, next_inner = count, nodes = count;
    for (int i = 0; i < count; i++)
        weights[i] = leaves[i].frequency;
    while (nodes < 2 * count - 1) {
        uint32_t sum = 0;
        for (int child = 0; child < 2; child++) {
            bool take_leaf = next_leaf < count &&
                             (next_inner == nodes || weights[next_leaf] <= weights[next_inner]);
            int taken = take_leaf ? next_leaf++ : next_inner++;
            sum += weights[taken];
            parents[taken] = (uint16_t)nodes;
        }
        weights[nodes++] = sum;
    }
    depths[nodes - 1] = 0;
    for (int node = nodes - 2; node >= 0; node--) {
        depths[node] = (uint16_t)(depths[parents[node]] + 1);
        if (node < count)
            at_depth[depths[node] < max_depth ? depths[node] : max_depth]++;
    }
}

/* Pulling leaves up to max_depth used up more room than there is. Each step
 * takes one of them and hangs it beside a leaf higher up, which goes down one
 * level: that frees exactly one word of the greatest length. */
static void make_room(int *at_depth, int max_depth)
{
    int used = 0;
    for (int depth = 1; depth <= max_depth; depth++)
        used += at_depth[depth] << (max_depth - depth);
    for (int excess = used - (1 << max_depth); excess > 0; excess--) {
        int depth = max_depth - 1;
        while (at_depth[depth] == 0)
            depth--;
        at_depth[depth]--;
        at_depth[depth + 1] += 2;
        at_depth[max_depth]--;
    }
}

void huffman_choose_lengths(const uint32_t *frequencies, int symbols, uint8_t *lengths)
{
    struct leaf leaves[MAX_SYMBOLS];
    int at_depth[MAX_CODE_BITS + 1] = { 0 };
    int count = 0;
    for (int symbol = 0; symbol < symbols; symbol++) {
        lengths[symbol] = 0;
        if (frequencies[symbol] > 0) {
            leaves[count].frequency = frequencies[symbol];
            leaves[count++].symbol = (uint16_t)symbol;
        }
    }
    if (count == 0)
        return;
    if (count == 1) { /* a word of no bits could not be told from nothing */
        lengths[leaves[0].symbol] = 1;
        return;
    }
    qsort(leaves, (size_t)count, sizeof leaves[0], compare_leaves);
    count_depths(leaves, count, at_depth, MAX_CODE_BITS);
    make_room(at_depth, MAX_CODE_BITS);

    int leaf = 0;
    for (int depth = MAX_CODE_BITS; depth > 0; depth--) {
        for (int i = 0; i < at_depth[depth]; i++)
            lengths[leaves[leaf++].symbol] = (uint8_t)depth;
    }
}

static unsigned reversed(unsigned word, int length)
{
    unsigned result = 0;
    for (int i = 0; i < length; i++)
        result |= (word >> i & 1) << (length - 1 - i);
    return result;
}

void huffman_words(const uint8_t *lengths, int symbols, uint16_t *words)
{
    unsigned word = 0;
    for (int length = 1; length <= MAX_CODE_BITS; length++) {
        for (int symbol = 0; symbol < symbols; symbol++) {
            if (lengths[symbol] == length)
                words[symbol] = (uint16_t)reversed(word++, length);
        }
        word <<= 1;
    }
}

bool huffman_decoder(const uint8_t *lengths, int symbols, uint16_t *table)
{
    unsigned used = 0;
    int count = 0;
    uint16_t words[MAX_SYMBOLS];
    for (int symbol = 0; symbol < symbols; symbol++) {
        if (lengths[symbol] > MAX_CODE_BITS)
            return false;
        if (lengths[symbol] > 0) {
            used += 1u << (MAX_CODE_BITS - lengths[symbol]);
            count++;
        }
    }
    bool complete = used == 1u << MAX_CODE_BITS;
    bool single = count == 1 && used == 1u << (MAX_CODE_BITS - 1);
    if (!complete && !single && count != 0)
        return false;

    huffman_words(lengths, symbols, words);
    for (int i = 0; i < DECODE_ENTRIES; i++)
        table[i] = 0;
    for (int symbol = 0; symbol < symbols; symbol++) {
        if (lengths[symbol] == 0)
            continue;
        /* Whatever bits follow the word lead to the same symbol. */
        for (unsigned i = words[symbol]; i < DECODE_ENTRIES; i += 1u << lengths[symbol])
            table[i] = (uint16_t)(symbol << 4 | lengths[symbol]);
    }
    return true;
}
