#include "node.h"

#include <string.h>

bool leaf_decode(struct leaf *leaf, const uint8_t *page, page_number number, struct error *error)
{
    unsigned long where = number;
    unsigned count = load16(page + 2);
    if (page[0] != PAGE_LEAF || count > MAX_LEAF_CELLS)
        return fail_corrupt(error, "page %lu is not a leaf of a table", where);
    for (unsigned i = 0; i < count; i++) {
        unsigned offset = load16(page + LEAF_HEADER_BYTES + 2 * i);
        if (offset < LEAF_HEADER_BYTES + 2 * count || offset > PAGE_BYTES - CELL_HEADER_BYTES)
            return fail_corrupt(error, "page %lu has a cell outside of its room", where);
        struct cell *cell = &leaf->cells[i];
        cell->bytes = page + offset;
        cell->rowid = (int64_t)load64(cell->bytes);
        uint32_t record_bytes = cell_record_bytes(cell);
        cell->size = CELL_HEADER_BYTES +
                     (record_bytes <= LOCAL_BYTES ? record_bytes : LOCAL_BYTES + 4);
        if (record_bytes > MAX_RECORD_BYTES || offset + cell->size > PAGE_BYTES)
            return fail_corrupt(error, "page %lu has a cell that does not fit", where);
        if (i > 0 && cell->rowid <= leaf->cells[i - 1].rowid)
            return fail_corrupt(error, "page %lu has its rows in the wrong order", where);
    }
    leaf->count = (int)count;
    /* Cells may not overlap either, or they would not fit once moved. */
    if (leaf_size(leaf, 0, leaf->count) > PAGE_BYTES)
        return fail_corrupt(error, "page %lu has cells that overlap", where);
    return true;
}

unsigned leaf_size(const struct leaf *leaf, int first, int last)
{
    unsigned size = LEAF_HEADER_BYTES;
    for (int i = first; i < last; i++)
        size += 2 + leaf->cells[i].size;
    return size;
}

void leaf_encode(const struct leaf *leaf, int first, int last, uint8_t *page)
{
    unsigned end = PAGE_BYTES;
    memset(page, 0, PAGE_BYTES);
    page[0] = PAGE_LEAF;
    store16(page + 2, (uint16_t)(last - first));
    for (int i = first; i < last; i++) {
        end -= leaf->cells[i].size;
        memcpy(page + end, leaf->cells[i].bytes, leaf->cells[i].size);
        store16(page + LEAF_HEADER_BYTES + 2 * (i - first), (uint16_t)end);
    }
}

bool interior_decode(struct interior *node, const uint8_t *page, page_number number,
                     struct error *error)
{
    unsigned count = load16(page + 2);
    if (page[0] != PAGE_INTERIOR || count > MAX_KEYS)
        return fail_corrupt(error, "page %lu is not a node of a table", (unsigned long)number);
    node->count = (int)count;
    node->children[0] = load32(page + 8);
    for (unsigned i = 0; i < count; i++) {
        node->keys[i] = (int64_t)load64(page + 12 + 12 * i);
        node->children[i + 1] = load32(page + 20 + 12 * i);
    }
    return true;
}

void interior_encode(const struct interior *node, uint8_t *page)
{
    memset(page, 0, PAGE_BYTES);
    page[0] = PAGE_INTERIOR;
    store16(page + 2, (uint16_t)node->count);
    store32(page + 8, node->children[0]);
    for (int i = 0; i < node->count; i++) {
        store64(page + 12 + 12 * i, (uint64_t)node->keys[i]);
        store32(page + 20 + 12 * i, node->children[i + 1]);
    }
}
