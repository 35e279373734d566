/* B+trees: rows by rowid.
 *
 * A tree is known by its root, whose page never changes. Rows lie in the leaves
 * in order; inner nodes only lead there. A full node is split in two; one that
 * has become empty is given back (half-empty neighbours are not merged). */

#ifndef MINIDB_TREE_H
#define MINIDB_TREE_H

#include "memory.h"
#include "node.h"
#include "pager.h"

/* With at least two children a node, no real tree comes near. */
enum { MAX_TREE_DEPTH = 12 };

bool tree_create(struct pager *pager, page_number *root);

/* Gives back all pages of the tree. */
bool tree_drop(struct pager *pager, page_number root);

/* Adds a row; `*exists` instead if there is one with this rowid. */
bool tree_insert(struct pager *pager, page_number root, int64_t rowid, const uint8_t *record,
                 uint32_t record_bytes, bool *exists);

/* Removes a row that is there. */
bool tree_delete(struct pager *pager, page_number root, int64_t rowid);

/* The greatest rowid; `*found` is false if the tree is empty. */
bool tree_last(struct pager *pager, page_number root, int64_t *rowid, bool *found);

/* A place in a tree. The tree must not be changed while a cursor is in use. */
struct cursor {
    struct pager *pager;
    int depth; /* of the inner nodes above the leaf */
    page_number path[MAX_TREE_DEPTH];
    int taken[MAX_TREE_DEPTH]; /* which child was taken in each */
    uint8_t page[PAGE_BYTES];  /* the leaf */
    struct leaf leaf;
    int index;
    page_number leaves_left; /* more leaves than pages would be a loop */
};

/* Goes to the first row whose rowid is at least `lowest`; `*found` is false if
 * there is none. */
bool cursor_seek(struct cursor *cursor, struct pager *pager, page_number root, int64_t lowest,
                 bool *found);
bool cursor_next(struct cursor *cursor, bool *found);

static inline int64_t cursor_rowid(const struct cursor *cursor)
{
    return cursor->leaf.cells[cursor->index].rowid;
}

/* The record at the cursor; valid until the cursor moves or the arena is reset. */
bool cursor_record(struct cursor *cursor, struct arena *arena, const uint8_t **record,
                   uint32_t *record_bytes);

#endif
