/* Walking over the rows of a tree in order. */

#include <string.h>

#include "tree.h"

/* Where to go down in an inner node. */
enum { FIRST_CHILD = -1, LAST_CHILD = -2 };

static int choose_child(const struct interior *node, int wanted, int64_t lowest)
{
    if (wanted == FIRST_CHILD)
        return 0;
    if (wanted == LAST_CHILD)
        return node->count;
    int child = 0;
    while (child < node->count && node->keys[child] < lowest)
        child++;
    return child;
}

/* Goes down from `number` to a leaf: the first or last one, or (for any other
 * `wanted`) the one for `lowest`. */
static bool descend(struct cursor *cursor, page_number number, int wanted, int64_t lowest)
{
    struct pager *pager = cursor->pager;
    for (;;) {
        if (!pager_read(pager, number, cursor->page))
            return false;
        if (cursor->page[0] == PAGE_LEAF)
            break;
        struct interior node;
        if (!interior_decode(&node, cursor->page, number, pager->error))
            return false;
        if (cursor->depth == MAX_TREE_DEPTH)
            return fail_corrupt(pager->error, "page %lu is too deep in its tree",
                                (unsigned long)number);
        int child = choose_child(&node, wanted, lowest);
        cursor->path[cursor->depth] = number;
        cursor->taken[cursor->depth++] = child;
        number = node.children[child];
    }
    if (cursor->leaves_left-- == 0)
        return fail_corrupt(pager->error, "page %lu is in its tree twice", (unsigned long)number);
    cursor->index = 0;
    return leaf_decode(&cursor->leaf, cursor->page, number, pager->error);
}

/* From behind the last row of a leaf to the first one of the next leaf that has
 * rows. */
static bool settle(struct cursor *cursor, bool *found)
{
    while (cursor->index >= cursor->leaf.count) {
        struct interior node;
        uint8_t page[PAGE_BYTES];
        if (cursor->depth == 0) {
            *found = false;
            return true;
        }
        page_number parent = cursor->path[cursor->depth - 1];
        if (!pager_read(cursor->pager, parent, page) ||
            !interior_decode(&node, page, parent, cursor->pager->error))
            return false;
        int next = ++cursor->taken[cursor->depth - 1];
        if (next > node.count)
            cursor->depth--; /* this node is done; its parent goes on */
        else if (!descend(cursor, node.children[next], FIRST_CHILD, 0))
            return false;
    }
    *found = true;
    return true;
}

bool cursor_seek(struct cursor *cursor, struct pager *pager, page_number root, int64_t lowest,
                 bool *found)
{
    cursor->pager = pager;
    cursor->depth = 0;
    cursor->leaves_left = pager->page_count;
    if (!descend(cursor, root, 0, lowest))
        return false;
    while (cursor->index < cursor->leaf.count && cursor_rowid(cursor) < lowest)
        cursor->index++;
    return settle(cursor, found);
}

bool cursor_next(struct cursor *cursor, bool *found)
{
    cursor->index++;
    return settle(cursor, found);
}

bool cursor_record(struct cursor *cursor, struct arena *arena, const uint8_t **record,
                   uint32_t *record_bytes)
{
    const struct cell *cell = &cursor->leaf.cells[cursor->index];
    page_number number = cell_overflow(cell);
    *record_bytes = cell_record_bytes(cell);
    *record = cell->bytes + CELL_HEADER_BYTES;
    if (number == 0)
        return true;

    uint8_t *whole = arena_allocate(arena, *record_bytes, 1);
    uint32_t used = LOCAL_BYTES;
    memcpy(whole, *record, LOCAL_BYTES);
    while (used < *record_bytes) {
        uint8_t page[PAGE_BYTES];
        if (!pager_read(cursor->pager, number, page))
            return false;
        if (page[0] != PAGE_OVERFLOW)
            return fail_corrupt(cursor->pager->error, "page %lu is not the rest of a row",
                                (unsigned long)number);
        uint32_t left = *record_bytes - used;
        uint32_t part = left < PAGE_BYTES - 8 ? left : PAGE_BYTES - 8;
        memcpy(whole + used, page + 8, part);
        used += part;
        number = load32(page + 4);
    }
    *record = whole;
    return true;
}

bool tree_last(struct pager *pager, page_number root, int64_t *rowid, bool *found)
{
    struct cursor cursor = { .pager = pager, .leaves_left = pager->page_count };
    if (!descend(&cursor, root, LAST_CHILD, 0))
        return false;
    *found = cursor.leaf.count > 0;
    if (*found)
        *rowid = cursor.leaf.cells[cursor.leaf.count - 1].rowid;
    return true;
}
