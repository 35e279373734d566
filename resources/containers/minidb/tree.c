#include "tree.h"

#include <string.h>

static bool too_deep(struct pager *pager, page_number number)
{
    return fail_corrupt(pager->error, "page %lu is too deep in its tree", (unsigned long)number);
}

bool tree_create(struct pager *pager, page_number *root)
{
    static const struct leaf empty;
    uint8_t page[PAGE_BYTES];
    leaf_encode(&empty, 0, 0, page);
    return pager_allocate(pager, root) && pager_write(pager, *root, page);
}

/* Which child holds the rows with this rowid. */
static int child_for(const struct interior *node, int64_t rowid)
{
    int low = 0, high = node->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (node->keys[middle] < rowid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The index of the first cell whose rowid is at least `rowid`. */
static int cell_for(const struct leaf *leaf, int64_t rowid)
{
    int low = 0, high = leaf->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (leaf->cells[middle].rowid < rowid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- long records --------------------------------------------------------- */

enum { OVERFLOW_HEADER_BYTES = 8, OVERFLOW_DATA_BYTES = PAGE_BYTES - OVERFLOW_HEADER_BYTES };

/* Writes the bytes to a chain of pages, the last one first. */
static bool write_overflow(struct pager *pager, const uint8_t *bytes, uint32_t count,
                           page_number *first)
{
    page_number next = 0;
    while (count > 0) {
        uint32_t part = (count - 1) % OVERFLOW_DATA_BYTES + 1;
        uint8_t page[PAGE_BYTES] = { PAGE_OVERFLOW };
        store32(page + 4, next);
        memcpy(page + OVERFLOW_HEADER_BYTES, bytes + count - part, part);
        if (!pager_allocate(pager, &next) || !pager_write(pager, next, page))
            return false;
        count -= part;
    }
    *first = next;
    return true;
}

static bool read_overflow_page(struct pager *pager, page_number number, uint8_t *page)
{
    return pager_read(pager, number, page) &&
           (page[0] == PAGE_OVERFLOW ||
            fail_corrupt(pager->error, "page %lu is not the rest of a row", (unsigned long)number));
}

/* Gives back what a cell has outside of its leaf. */
static bool free_overflow(struct pager *pager, const struct cell *cell)
{
    uint8_t page[PAGE_BYTES];
    page_number number = cell_overflow(cell);
    uint32_t left = number == 0 ? 0 : cell_record_bytes(cell) - LOCAL_BYTES;
    while (left > 0) {
        if (!read_overflow_page(pager, number, page) || !pager_free(pager, number))
            return false;
        number = load32(page + 4);
        left -= left < OVERFLOW_DATA_BYTES ? left : OVERFLOW_DATA_BYTES;
    }
    return true;
}

/* ---- inserting ------------------------------------------------------------ */

struct insertion {
    struct pager *pager;
    int64_t rowid;
    struct cell cell;
    bool exists;
    /* Set when a node was split: its rows above `key` are in the page `right`. */
    bool split;
    int64_t key;
    page_number right;
};

static bool insert_into_leaf(struct insertion *insertion, page_number number, uint8_t *page)
{
    struct leaf leaf;
    uint8_t out[PAGE_BYTES];
    if (!leaf_decode(&leaf, page, number, insertion->pager->error))
        return false;
    int at = cell_for(&leaf, insertion->rowid);
    if (at < leaf.count && leaf.cells[at].rowid == insertion->rowid) {
        insertion->exists = true;
        return true;
    }
    memmove(&leaf.cells[at + 1], &leaf.cells[at], (size_t)(leaf.count - at) * sizeof leaf.cells[0]);
    leaf.cells[at] = insertion->cell;
    leaf.count++;
    if (leaf_size(&leaf, 0, leaf.count) <= PAGE_BYTES) {
        leaf_encode(&leaf, 0, leaf.count, out);
        return pager_write(insertion->pager, number, out);
    }

    /* Half of the bytes to each side; but a row at the end starts a leaf of its
     * own, so that rows inserted in order leave full leaves behind. */
    int middle = leaf.count - 1;
    if (at < leaf.count - 1) {
        middle = 1;
        while (leaf_size(&leaf, 0, middle + 1) <= PAGE_BYTES / 2)
            middle++;
    }
    if (!pager_allocate(insertion->pager, &insertion->right))
        return false;
    leaf_encode(&leaf, middle, leaf.count, out);
    if (!pager_write(insertion->pager, insertion->right, out))
        return false;
    insertion->split = true;
    insertion->key = leaf.cells[middle - 1].rowid;
    leaf_encode(&leaf, 0, middle, out);
    return pager_write(insertion->pager, number, out);
}

/* Enters the right half of a split child, which may split this node in turn. */
static bool insert_into_interior(struct insertion *insertion, page_number number,
                                 struct interior *node, int child)
{
    uint8_t page[PAGE_BYTES];
    size_t moved = (size_t)(node->count - child);
    memmove(&node->keys[child + 1], &node->keys[child], moved * sizeof node->keys[0]);
    memmove(&node->children[child + 2], &node->children[child + 1],
            moved * sizeof node->children[0]);
    node->keys[child] = insertion->key;
    node->children[child + 1] = insertion->right;
    node->count++;
    insertion->split = node->count > MAX_KEYS;
    if (insertion->split) {
        /* The key in the middle goes up; what is above it goes to the right. */
        struct interior right;
        int middle = node->count / 2;
        right.count = node->count - middle - 1;
        memcpy(right.keys, &node->keys[middle + 1], (size_t)right.count * sizeof right.keys[0]);
        memcpy(right.children, &node->children[middle + 1],
               (size_t)(right.count + 1) * sizeof right.children[0]);
        insertion->key = node->keys[middle];
        node->count = middle;
        if (!pager_allocate(insertion->pager, &insertion->right))
            return false;
        interior_encode(&right, page);
        if (!pager_write(insertion->pager, insertion->right, page))
            return false;
    }
    interior_encode(node, page);
    return pager_write(insertion->pager, number, page);
}

static bool insert_below(struct insertion *insertion, page_number number, int depth)
{
    uint8_t page[PAGE_BYTES];
    struct interior node;
    if (depth > MAX_TREE_DEPTH)
        return too_deep(insertion->pager, number);
    if (!pager_read(insertion->pager, number, page))
        return false;
    if (page[0] == PAGE_LEAF)
        return insert_into_leaf(insertion, number, page);
    if (!interior_decode(&node, page, number, insertion->pager->error))
        return false;
    int child = child_for(&node, insertion->rowid);
    if (!insert_below(insertion, node.children[child], depth + 1))
        return false;
    return !insertion->split || insert_into_interior(insertion, number, &node, child);
}

/* The root was split: its left half moves out, the root leads to both. */
static bool grow(struct insertion *insertion, page_number root)
{
    uint8_t page[PAGE_BYTES];
    struct interior node = { .count = 1 };
    if (!pager_read(insertion->pager, root, page) ||
        !pager_allocate(insertion->pager, &node.children[0]) ||
        !pager_write(insertion->pager, node.children[0], page))
        return false;
    node.keys[0] = insertion->key;
    node.children[1] = insertion->right;
    interior_encode(&node, page);
    return pager_write(insertion->pager, root, page);
}

bool tree_insert(struct pager *pager, page_number root, int64_t rowid, const uint8_t *record,
                 uint32_t record_bytes, bool *exists)
{
    uint8_t bytes[MAX_CELL_BYTES];
    struct insertion insertion = { .pager = pager, .rowid = rowid };
    uint32_t local = record_bytes <= LOCAL_BYTES ? record_bytes : LOCAL_BYTES;
    insertion.cell = (struct cell){ rowid, bytes, CELL_HEADER_BYTES + local };
    store64(bytes, (uint64_t)rowid);
    store32(bytes + 8, record_bytes);
    memcpy(bytes + CELL_HEADER_BYTES, record, local);
    if (record_bytes > LOCAL_BYTES) {
        page_number overflow;
        if (!write_overflow(pager, record + local, record_bytes - local, &overflow))
            return false;
        store32(bytes + insertion.cell.size, overflow);
        insertion.cell.size += 4;
    }
    if (!insert_below(&insertion, root, 0))
        return false;
    *exists = insertion.exists;
    if (insertion.exists) /* what was written for nothing goes back */
        return free_overflow(pager, &insertion.cell);
    return !insertion.split || grow(&insertion, root);
}

/* ---- deleting ------------------------------------------------------------- */

static bool delete_from_leaf(struct pager *pager, page_number number, const uint8_t *page,
                             int64_t rowid, bool *empty)
{
    struct leaf leaf;
    uint8_t out[PAGE_BYTES];
    if (!leaf_decode(&leaf, page, number, pager->error))
        return false;
    int at = cell_for(&leaf, rowid);
    if (at == leaf.count || leaf.cells[at].rowid != rowid)
        return fail_corrupt(pager->error, "row %lld is not where it was", (long long)rowid);
    if (!free_overflow(pager, &leaf.cells[at]))
        return false;
    leaf.count--;
    memmove(&leaf.cells[at], &leaf.cells[at + 1], (size_t)(leaf.count - at) * sizeof leaf.cells[0]);
    *empty = leaf.count == 0;
    leaf_encode(&leaf, 0, leaf.count, out);
    return pager_write(pager, number, out);
}

/* `*empty` says that nothing is left below the page, which is then the caller's
 * to give back. */
static bool delete_below(struct pager *pager, page_number number, int64_t rowid, int depth,
                         bool *empty)
{
    uint8_t page[PAGE_BYTES];
    struct interior node;
    if (depth > MAX_TREE_DEPTH)
        return too_deep(pager, number);
    if (!pager_read(pager, number, page))
        return false;
    if (page[0] == PAGE_LEAF)
        return delete_from_leaf(pager, number, page, rowid, empty);
    if (!interior_decode(&node, page, number, pager->error))
        return false;
    int child = child_for(&node, rowid);
    if (!delete_below(pager, node.children[child], rowid, depth + 1, empty))
        return false;
    if (!*empty)
        return true;
    if (!pager_free(pager, node.children[child]))
        return false;
    *empty = node.count == 0; /* it was the only child */
    if (*empty)
        return true;
    /* The key that goes is the one beside the child; the neighbour takes over. */
    int key = child < node.count ? child : child - 1;
    node.count--;
    memmove(&node.keys[key], &node.keys[key + 1], (size_t)(node.count - key) * sizeof node.keys[0]);
    memmove(&node.children[child], &node.children[child + 1],
            (size_t)(node.count + 1 - child) * sizeof node.children[0]);
    interior_encode(&node, page);
    return pager_write(pager, number, page);
}

bool tree_delete(struct pager *pager, page_number root, int64_t rowid)
{
    static const struct leaf empty_leaf;
    uint8_t page[PAGE_BYTES];
    bool empty = false;
    if (!delete_below(pager, root, rowid, 0, &empty))
        return false;
    if (empty) {
        leaf_encode(&empty_leaf, 0, 0, page);
        return pager_write(pager, root, page);
    }
    /* A root with a single child makes the tree deeper for nothing. */
    for (;;) {
        struct interior node;
        if (!pager_read(pager, root, page))
            return false;
        if (page[0] != PAGE_INTERIOR)
            return true;
        if (!interior_decode(&node, page, root, pager->error))
            return false;
        if (node.count > 0)
            return true;
        if (!pager_read(pager, node.children[0], page) || !pager_write(pager, root, page) ||
            !pager_free(pager, node.children[0]))
            return false;
    }
}

static bool drop_below(struct pager *pager, page_number number, int depth)
{
    uint8_t page[PAGE_BYTES];
    if (depth > MAX_TREE_DEPTH)
        return too_deep(pager, number);
    if (!pager_read(pager, number, page))
        return false;
    if (page[0] == PAGE_LEAF) {
        struct leaf leaf;
        if (!leaf_decode(&leaf, page, number, pager->error))
            return false;
        for (int i = 0; i < leaf.count; i++) {
            if (!free_overflow(pager, &leaf.cells[i]))
                return false;
        }
    } else {
        struct interior node;
        if (!interior_decode(&node, page, number, pager->error))
            return false;
        for (int i = 0; i <= node.count; i++) {
            if (!drop_below(pager, node.children[i], depth + 1))
                return false;
        }
    }
    return pager_free(pager, number);
}

bool tree_drop(struct pager *pager, page_number root)
{
    return drop_below(pager, root, 0);
}
