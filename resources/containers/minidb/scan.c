#include "scan.h"

struct evaluation evaluation_of(struct database *database, const struct value *row)
{
    return (struct evaluation){ &database->row_arena, database->error, row };
}

/* ---- bounds on the primary key -------------------------------------------- */

struct bounds {
    int64_t lowest, highest;
    bool empty; /* no rowid is between them */
};

static void at_least(struct bounds *bounds, int64_t rowid)
{
    if (rowid > bounds->lowest)
        bounds->lowest = rowid;
}

static void at_most(struct bounds *bounds, int64_t rowid)
{
    if (rowid < bounds->highest)
        bounds->highest = rowid;
}

static void narrow(struct bounds *bounds, enum expression_kind comparison, int64_t value)
{
    switch (comparison) {
    case EXPRESSION_EQUAL:
        at_least(bounds, value);
        at_most(bounds, value);
        break;
    case EXPRESSION_GREATER_OR_EQUAL:
        at_least(bounds, value);
        break;
    case EXPRESSION_LESS_OR_EQUAL:
        at_most(bounds, value);
        break;
    case EXPRESSION_GREATER:
        bounds->empty = bounds->empty || value == INT64_MAX;
        if (value != INT64_MAX)
            at_least(bounds, value + 1);
        break;
    case EXPRESSION_LESS:
        bounds->empty = bounds->empty || value == INT64_MIN;
        if (value != INT64_MIN)
            at_most(bounds, value - 1);
        break;
    default:
        break;
    }
}

/* a < b as b > a. */
static enum expression_kind mirrored(enum expression_kind comparison)
{
    switch (comparison) {
    case EXPRESSION_LESS:
        return EXPRESSION_GREATER;
    case EXPRESSION_LESS_OR_EQUAL:
        return EXPRESSION_GREATER_OR_EQUAL;
    case EXPRESSION_GREATER:
        return EXPRESSION_LESS;
    case EXPRESSION_GREATER_OR_EQUAL:
        return EXPRESSION_LESS_OR_EQUAL;
    default:
        return comparison;
    }
}

/* Bounds that follow from a condition. They only leave out rows for which it
 * does not hold; it is still checked for each row within. */
static bool find_bounds(struct scan *scan, const struct expression *where, struct bounds *bounds)
{
    if (where == NULL || scan->table->primary_key == -1)
        return true;
    if (where->kind == EXPRESSION_AND)
        return find_bounds(scan, where->left, bounds) && find_bounds(scan, where->right, bounds);
    if (where->kind < EXPRESSION_EQUAL || where->kind > EXPRESSION_GREATER_OR_EQUAL)
        return true;
    const struct expression *column = where->left, *constant = where->right;
    enum expression_kind comparison = where->kind;
    if (column->kind != EXPRESSION_COLUMN) {
        column = where->right;
        constant = where->left;
        comparison = mirrored(comparison);
    }
    if (column->kind != EXPRESSION_COLUMN || column->column != scan->table->primary_key ||
        uses_columns(constant))
        return true;
    struct evaluation evaluation = evaluation_of(scan->database, NULL);
    struct value value;
    if (!evaluate(&evaluation, constant, &value))
        return false;
    if (value.type == VALUE_INTEGER)
        narrow(bounds, comparison, value.integer);
    return true;
}

/* ---- rows ----------------------------------------------------------------- */

bool read_row(struct database *database, struct cursor *cursor, const struct table *table,
              struct value *row)
{
    const uint8_t *record;
    uint32_t record_bytes;
    if (!cursor_record(cursor, &database->row_arena, &record, &record_bytes))
        return false;
    if (!record_decode(record, record_bytes, row, table->column_count))
        return fail_corrupt(database->error, "row %lld of %.*s makes no sense",
                            (long long)cursor_rowid(cursor),
                            (int)(table->name.length < 40 ? table->name.length : 40),
                            table->name.bytes);
    return true;
}

bool scan_start(struct scan *scan, struct database *database, const struct table *table,
                const struct expression *where)
{
    struct bounds bounds = { INT64_MIN, INT64_MAX, false };
    bool found = false;
    scan->database = database;
    scan->table = table;
    scan->where = where;
    scan->started = false;
    if (!find_bounds(scan, where, &bounds))
        return false;
    scan->highest = bounds.highest;
    bool searched = table->root != 0 && !bounds.empty && bounds.lowest <= bounds.highest;
    if (searched &&
        !cursor_seek(&scan->cursor, &database->pager, table->root, bounds.lowest, &found))
        return false;
    scan->at_end = !found;
    return true;
}

bool scan_next(struct scan *scan, bool *found)
{
    struct database *database = scan->database;
    struct evaluation evaluation = evaluation_of(database, scan->row);
    for (;;) {
        bool more = !scan->at_end, matches;
        if (scan->started && more && !cursor_next(&scan->cursor, &more))
            return false;
        scan->started = true;
        scan->at_end = !more || cursor_rowid(&scan->cursor) > scan->highest;
        *found = !scan->at_end;
        if (scan->at_end)
            return true;
        arena_reset(&database->row_arena);
        if (!read_row(database, &scan->cursor, scan->table, scan->row) ||
            !evaluate_condition(&evaluation, scan->where, &matches))
            return false;
        if (matches)
            return true;
    }
}
