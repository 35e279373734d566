/* INSERT, UPDATE and DELETE. */

#include <string.h>

#include "scan.h"

/* ---- values into columns -------------------------------------------------- */

/* Makes the value one of the column's type, where that loses nothing. */
static bool fit_value(struct database *database, const struct column *column, size_t offset,
                      struct value *value)
{
    int shown = column->name.length < 40 ? (int)column->name.length : 40;
    const char *name = column->name.bytes;
    if (value->type == VALUE_NULL)
        return !column->not_null ||
               fail_sql(database->error, offset, "%.*s cannot be NULL", shown, name);
    if (column->type == VALUE_REAL && value->type == VALUE_INTEGER) {
        *value = value_from_real((double)value->integer);
    } else if (column->type == VALUE_INTEGER && value->type == VALUE_REAL) {
        bool in_range = value->real >= -9223372036854775808.0 && value->real < 9223372036854775808.0;
        if (in_range && (double)(int64_t)value->real == value->real)
            *value = value_from_integer((int64_t)value->real);
    }
    if (value->type != column->type)
        return fail_sql(database->error, offset, "%.*s is %s and cannot hold %s", shown, name,
                        value_type_name(column->type), value_type_name(value->type));
    if (value->type == VALUE_TEXT && value->text.length > MAX_RECORD_BYTES)
        return fail_sql(database->error, offset, "the row is too long");
    return true;
}

static bool store_row(struct database *database, const struct table *table, int64_t rowid,
                      const struct value *row, size_t offset)
{
    uint32_t record_bytes;
    bool exists;
    const uint8_t *record =
        record_encode(&database->row_arena, row, table->column_count, &record_bytes);
    if (record_bytes > MAX_RECORD_BYTES)
        return fail_sql(database->error, offset, "the row is too long");
    if (!tree_insert(&database->pager, table->root, rowid, record, record_bytes, &exists))
        return false;
    return !exists || fail_sql(database->error, offset, "there is a row with the key %lld",
                               (long long)rowid);
}

/* The rowid after the last one. */
static bool next_rowid(struct database *database, const struct table *table, size_t offset,
                       int64_t *rowid)
{
    bool found;
    if (!tree_last(&database->pager, table->root, rowid, &found))
        return false;
    if (found && *rowid == INT64_MAX)
        return fail_sql(database->error, offset, "there is no free key left");
    *rowid = found ? *rowid + 1 : 1;
    return true;
}

static bool find_column(struct database *database, const struct table *table,
                        const struct assignment *assignment, int *column)
{
    int shown = assignment->column.length < 40 ? (int)assignment->column.length : 40;
    for (*column = 0; *column < table->column_count; ++*column) {
        if (text_same_name(table->columns[*column].name, assignment->column))
            return true;
    }
    return fail_sql(database->error, assignment->offset, "no such column: %.*s", shown,
                    assignment->column.bytes);
}

static bool check_changeable(struct database *database, const struct statement *statement,
                             const struct table *table)
{
    return !table->is_catalog || fail_sql(database->error, statement->table_offset,
                                          "the catalog changes with CREATE and DROP only");
}

/* ---- INSERT --------------------------------------------------------------- */

/* Which column the values go to, in order. */
static bool find_targets(struct database *database, const struct statement *statement,
                         const struct table *table, int *targets, int *count)
{
    *count = 0;
    for (const struct assignment *at = statement->assignments; at != NULL; at = at->next) {
        /* No column comes twice, so they all have room. */
        if (!find_column(database, table, at, &targets[*count]))
            return false;
        ++*count;
    }
    if (statement->assignments == NULL) {
        for (; *count < table->column_count; ++*count)
            targets[*count] = *count;
    }
    return true;
}

static bool insert_expressions(struct database *database, const struct table *table,
                               const struct row_of_expressions *source, const int *targets,
                               int count)
{
    struct evaluation evaluation = evaluation_of(database, NULL);
    struct aggregate_state *none = NULL;
    struct value row[MAX_COLUMNS];
    int at = 0;
    for (int i = 0; i < table->column_count; i++)
        row[i] = value_null();
    for (struct expression *value = source->values; value != NULL; value = value->next, at++) {
        if (at == count)
            return fail_sql(database->error, value->offset, "more values than columns");
        if (!resolve_columns(value, NULL, database->error) ||
            !collect_aggregates(value, false, &database->statement_arena, &none,
                                database->error) ||
            !evaluate(&evaluation, value, &row[targets[at]]))
            return false;
        bool is_free_key = targets[at] == table->primary_key && row[targets[at]].type == VALUE_NULL;
        if (!is_free_key &&
            !fit_value(database, &table->columns[targets[at]], value->offset, &row[targets[at]]))
            return false;
    }
    if (at < count)
        return fail_sql(database->error, source->offset, "fewer values than columns");
    /* Columns that were not named are NULL now, which not all of them may be; a
     * primary key gets its value when the row is inserted. */
    for (int i = 0; i < table->column_count; i++) {
        if (i != table->primary_key && row[i].type == VALUE_NULL &&
            !fit_value(database, &table->columns[i], source->offset, &row[i]))
            return false;
    }
    int64_t rowid;
    struct value *key = table->primary_key == -1 ? NULL : &row[table->primary_key];
    if (key != NULL && key->type == VALUE_INTEGER)
        rowid = key->integer;
    else if (!next_rowid(database, table, source->offset, &rowid))
        return false;
    if (key != NULL)
        *key = value_from_integer(rowid);
    return store_row(database, table, rowid, row, source->offset);
}

bool run_insert(struct database *database, struct statement *statement)
{
    struct table table;
    int targets[MAX_COLUMNS], count;
    if (!database_find_table(database, statement, &table) ||
        !check_changeable(database, statement, &table) ||
        !find_targets(database, statement, &table, targets, &count))
        return false;
    for (const struct row_of_expressions *row = statement->rows; row != NULL; row = row->next) {
        if (!insert_expressions(database, &table, row, targets, count))
            return false;
        arena_reset(&database->row_arena);
    }
    return true;
}

/* ---- UPDATE, DELETE ------------------------------------------------------- */

struct rowids {
    int64_t *list;
    size_t count;
    size_t capacity;
};

/* Finds the rows before any of them is changed: a row that is moved by a change
 * of its key must not be met again, and a tree must not change under a scan. */
static bool find_rows(struct database *database, const struct table *table,
                      struct expression *where, struct rowids *rowids)
{
    struct arena *arena = &database->statement_arena;
    struct aggregate_state *none = NULL;
    struct scan scan;
    bool found;
    if (!resolve_columns(where, table, database->error) ||
        !collect_aggregates(where, false, arena, &none, database->error) ||
        !scan_start(&scan, database, table, where))
        return false;
    for (;;) {
        if (!scan_next(&scan, &found))
            return false;
        if (!found)
            return true;
        if (rowids->count == rowids->capacity) {
            rowids->capacity = rowids->capacity == 0 ? 256 : rowids->capacity * 2;
            int64_t *moved = arena_allocate(arena, rowids->capacity, sizeof *moved);
            if (rowids->count > 0)
                memcpy(moved, rowids->list, rowids->count * sizeof *moved);
            rowids->list = moved;
        }
        rowids->list[rowids->count++] = cursor_rowid(&scan.cursor);
    }
}

bool run_delete(struct database *database, struct statement *statement)
{
    struct table table;
    struct rowids rowids = { 0 };
    if (!database_find_table(database, statement, &table) ||
        !check_changeable(database, statement, &table) ||
        !find_rows(database, &table, statement->where, &rowids))
        return false;
    for (size_t i = 0; i < rowids.count; i++) {
        if (!tree_delete(&database->pager, table.root, rowids.list[i]))
            return false;
    }
    return true;
}

static bool update_row(struct database *database, const struct table *table, int64_t rowid,
                       const struct statement *statement, const int *targets)
{
    struct cursor cursor;
    struct value old_row[MAX_COLUMNS], row[MAX_COLUMNS];
    bool found;
    if (!cursor_seek(&cursor, &database->pager, table->root, rowid, &found))
        return false;
    if (!found || cursor_rowid(&cursor) != rowid)
        return fail_corrupt(database->error, "row %lld is not where it was", (long long)rowid);
    if (!read_row(database, &cursor, table, old_row))
        return false;
    memcpy(row, old_row, (size_t)table->column_count * sizeof *row);
    struct evaluation evaluation = evaluation_of(database, old_row);
    int at = 0;
    for (const struct assignment *set = statement->assignments; set != NULL; set = set->next) {
        struct value *value = &row[targets[at]];
        if (!evaluate(&evaluation, set->value, value) ||
            !fit_value(database, &table->columns[targets[at]], set->offset, value))
            return false;
        if (targets[at] == table->primary_key && value->type == VALUE_NULL)
            return fail_sql(database->error, set->offset, "a primary key cannot be NULL");
        at++;
    }
    int64_t new_rowid = table->primary_key == -1 ? rowid : row[table->primary_key].integer;
    return tree_delete(&database->pager, table->root, rowid) &&
           store_row(database, table, new_rowid, row, statement->table_offset);
}

bool run_update(struct database *database, struct statement *statement)
{
    struct table table;
    struct rowids rowids = { 0 };
    struct aggregate_state *none = NULL;
    int targets[MAX_COLUMNS], count = 0;
    if (!database_find_table(database, statement, &table) ||
        !check_changeable(database, statement, &table))
        return false;
    for (struct assignment *set = statement->assignments; set != NULL; set = set->next) {
        if (!find_column(database, &table, set, &targets[count++]) ||
            !resolve_columns(set->value, &table, database->error) ||
            !collect_aggregates(set->value, false, &database->statement_arena, &none,
                                database->error))
            return false;
    }
    if (!find_rows(database, &table, statement->where, &rowids))
        return false;
    for (size_t i = 0; i < rowids.count; i++) {
        if (!update_row(database, &table, rowids.list[i], statement, targets))
            return false;
        arena_reset(&database->row_arena);
    }
    return true;
}
