#include "catalog.h"

#include <string.h>

#include "tree.h"

enum { NAME, ROOT, SQL, CATALOG_COLUMNS };

static const struct column catalog_columns[CATALOG_COLUMNS] = {
    [NAME] = { .name = { "name", 4 }, .type = VALUE_TEXT, .not_null = true },
    [ROOT] = { .name = { "root", 4 }, .type = VALUE_INTEGER, .not_null = true },
    [SQL] = { .name = { "sql", 3 }, .type = VALUE_TEXT, .not_null = true },
};

static struct table catalog_table(const struct pager *pager)
{
    return (struct table){
        .name = { "minidb_tables", 13 },
        .root = pager->catalog,
        .columns = catalog_columns,
        .column_count = CATALOG_COLUMNS,
        .primary_key = -1,
        .is_catalog = true,
    };
}

static bool corrupt(struct pager *pager)
{
    return fail_corrupt(pager->error, "a row of the catalog makes no sense");
}

/* Makes a table of a row of the catalog. */
static bool read_table(struct cursor *cursor, struct arena *arena, struct table *table,
                       struct text *sql)
{
    struct pager *pager = cursor->pager;
    struct value values[CATALOG_COLUMNS];
    const uint8_t *record;
    uint32_t record_bytes;
    if (!cursor_record(cursor, arena, &record, &record_bytes))
        return false;
    if (!record_decode(record, record_bytes, values, CATALOG_COLUMNS) ||
        values[NAME].type != VALUE_TEXT || values[ROOT].type != VALUE_INTEGER ||
        values[SQL].type != VALUE_TEXT || values[ROOT].integer <= 0 ||
        values[ROOT].integer >= pager->page_count)
        return corrupt(pager);

    /* The record lives in the cursor; the table shall outlive it. */
    *sql = value_copy(arena, &values[SQL]).text;
    struct error error = { 0 };
    const struct statement *create = parse_statement(sql->bytes, sql->length, arena, &error);
    if (create == NULL || create->kind != STATEMENT_CREATE)
        return corrupt(pager);
    *table = (struct table){
        .name = create->table,
        .root = (page_number)values[ROOT].integer,
        .columns = create->columns,
        .column_count = create->column_count,
        .primary_key = -1,
        .catalog_rowid = cursor_rowid(cursor),
    };
    for (int i = 0; i < create->column_count; i++) {
        if (create->columns[i].primary_key)
            table->primary_key = i;
    }
    return true;
}

bool catalog_each(struct pager *pager, struct arena *arena,
                  bool (*visit)(void *context, const struct table *table, struct text sql),
                  void *context)
{
    struct cursor cursor;
    bool found;
    if (pager->catalog == 0)
        return true;
    if (!cursor_seek(&cursor, pager, pager->catalog, INT64_MIN, &found))
        return false;
    while (found) {
        struct table table;
        struct text sql;
        if (!read_table(&cursor, arena, &table, &sql))
            return false;
        if (!visit(context, &table, sql))
            return true;
        if (!cursor_next(&cursor, &found))
            return false;
    }
    return true;
}

struct search {
    struct text name;
    struct table *table;
    bool *found;
};

static bool visit_for_search(void *context, const struct table *table, struct text sql)
{
    struct search *search = context;
    *search->found = text_same_name(table->name, search->name);
    if (*search->found)
        *search->table = *table;
    return !*search->found;
}

bool catalog_find(struct pager *pager, struct arena *arena, struct text name, struct table *table,
                  bool *found)
{
    struct search search = { name, table, found };
    *table = catalog_table(pager);
    *found = text_same_name(table->name, name);
    return *found || catalog_each(pager, arena, visit_for_search, &search);
}

bool catalog_create(struct pager *pager, struct arena *arena, const struct statement *create)
{
    struct table existing;
    struct value values[CATALOG_COLUMNS];
    uint32_t record_bytes;
    page_number root;
    int64_t last = 0;
    bool exists;
    if (!catalog_find(pager, arena, create->table, &existing, &exists))
        return false;
    if (exists)
        return create->if_exists ||
               fail_sql(pager->error, create->table_offset, "there is a table of that name");
    if (create->text.length > MAX_RECORD_BYTES / 2)
        return fail_sql(pager->error, create->table_offset, "the statement is too long");

    if (pager->catalog == 0 && (!tree_create(pager, &root) || !pager_set_catalog(pager, root)))
        return false;
    if (!tree_create(pager, &root) || !tree_last(pager, pager->catalog, &last, &exists))
        return false;
    values[NAME] = value_from_text(create->table);
    values[ROOT] = value_from_integer(root);
    values[SQL] = value_from_text(create->text);
    const uint8_t *record = record_encode(arena, values, CATALOG_COLUMNS, &record_bytes);
    if (last == INT64_MAX) /* nobody made that many: 2^63 */
        return corrupt(pager);
    return tree_insert(pager, pager->catalog, last + 1, record, record_bytes, &exists);
}

bool catalog_drop(struct pager *pager, const struct table *table)
{
    return tree_drop(pager, table->root) &&
           tree_delete(pager, pager->catalog, table->catalog_rowid);
}
