/* The two kinds of nodes of a tree, as they lie in a page.
 *
 *   leaf:      type:u8 0:u8 count:u16, offset of each cell:u16, ..., cells at the end
 *   cell:      rowid:i64 record_bytes:u32 record, or if that is long its first
 *              LOCAL_BYTES and the number:u32 of the page where it goes on
 *   interior:  type:u8 0:u8 count:u16 0:u32, child:u32, then count times key:i64 child:u32
 *
 * Child i of an interior node holds the rowids up to key i and above key i - 1. */

#ifndef MINIDB_NODE_H
#define MINIDB_NODE_H

#include <stdbool.h>

#include "error.h"
#include "page.h"

enum {
    LEAF_HEADER_BYTES = 4,
    LOCAL_BYTES = 900, /* at least four rows fit in a leaf */
    CELL_HEADER_BYTES = 12,
    MAX_CELL_BYTES = CELL_HEADER_BYTES + LOCAL_BYTES + 4,
    MAX_LEAF_CELLS = (PAGE_BYTES - LEAF_HEADER_BYTES) / (2 + CELL_HEADER_BYTES),
    MAX_KEYS = (PAGE_BYTES - 12) / 12,
    MAX_RECORD_BYTES = 1024 * 1024,
};

struct cell {
    int64_t rowid;
    const uint8_t *bytes; /* the whole cell, somewhere in a page or elsewhere */
    unsigned size;
};

struct leaf {
    int count;
    struct cell cells[MAX_LEAF_CELLS + 1]; /* one more than fit, before a split */
};

struct interior {
    int count;                          /* of the keys */
    int64_t keys[MAX_KEYS + 1];         /* one more than fit, before a split */
    page_number children[MAX_KEYS + 2];
};

/* Takes a page apart; false if it is not such a node. The cells stay in the page. */
bool leaf_decode(struct leaf *leaf, const uint8_t *page, page_number number, struct error *error);
bool interior_decode(struct interior *node, const uint8_t *page, page_number number,
                     struct error *error);

/* Builds a page of cells `first` up to before `last`, which have to fit. */
void leaf_encode(const struct leaf *leaf, int first, int last, uint8_t *page);
void interior_encode(const struct interior *node, uint8_t *page);

/* The bytes that cells `first` up to before `last` take in a page. */
unsigned leaf_size(const struct leaf *leaf, int first, int last);

static inline uint32_t cell_record_bytes(const struct cell *cell)
{
    return load32(cell->bytes + 8);
}

/* Where the record goes on; 0 if it is all in the cell. */
static inline page_number cell_overflow(const struct cell *cell)
{
    return cell_record_bytes(cell) <= LOCAL_BYTES
               ? 0
               : load32(cell->bytes + CELL_HEADER_BYTES + LOCAL_BYTES);
}

#endif
