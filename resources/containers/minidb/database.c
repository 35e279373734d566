#include "database.h"

#include <string.h>

bool database_open(struct database *database, const char *path, struct error *error)
{
    memset(database, 0, sizeof *database);
    database->error = error;
    return pager_open(&database->pager, path, error);
}

bool database_close(struct database *database)
{
    bool ok = pager_rollback(&database->pager);
    pager_close(&database->pager);
    return ok;
}

bool database_find_table(struct database *database, const struct statement *statement,
                         struct table *table)
{
    bool found;
    int shown = statement->table.length < 40 ? (int)statement->table.length : 40;
    if (!catalog_find(&database->pager, &database->statement_arena, statement->table, table,
                      &found))
        return false;
    return found || fail_sql(database->error, statement->table_offset, "no such table: %.*s",
                             shown, statement->table.bytes);
}

static bool run_create(struct database *database, struct statement *statement)
{
    return catalog_create(&database->pager, &database->statement_arena, statement);
}

static bool run_drop(struct database *database, struct statement *statement)
{
    struct table table;
    bool found;
    if (statement->if_exists) {
        if (!catalog_find(&database->pager, &database->statement_arena, statement->table, &table,
                          &found))
            return false;
        if (!found)
            return true;
    } else if (!database_find_table(database, statement, &table)) {
        return false;
    }
    if (table.is_catalog)
        return fail_sql(database->error, statement->table_offset, "the catalog cannot be dropped");
    return catalog_drop(&database->pager, &table);
}

/* BEGIN, COMMIT, ROLLBACK and VACUUM, each of which needs to be inside of a
 * transaction or outside. */
static bool run_control(struct database *database, enum statement_kind kind)
{
    bool needs_transaction = kind == STATEMENT_COMMIT || kind == STATEMENT_ROLLBACK;
    if (needs_transaction && !database->in_transaction)
        return fail_sql(database->error, 0, "there is no transaction");
    if (!needs_transaction && database->in_transaction)
        return fail_sql(database->error, 0, "not inside of a transaction");
    if (kind == STATEMENT_VACUUM)
        return run_vacuum(database);
    database->in_transaction = kind == STATEMENT_BEGIN;
    if (kind == STATEMENT_COMMIT)
        return pager_commit(&database->pager);
    return kind == STATEMENT_BEGIN || pager_rollback(&database->pager);
}

static bool run_parsed(struct database *database, struct statement *statement)
{
    switch (statement->kind) {
    case STATEMENT_EMPTY:
        return true;
    case STATEMENT_CREATE:
        return run_create(database, statement);
    case STATEMENT_DROP:
        return run_drop(database, statement);
    case STATEMENT_INSERT:
        return run_insert(database, statement);
    case STATEMENT_SELECT:
        return run_select(database, statement);
    case STATEMENT_UPDATE:
        return run_update(database, statement);
    case STATEMENT_DELETE:
        return run_delete(database, statement);
    default:
        return run_control(database, statement->kind);
    }
}

bool database_run(struct database *database, const char *sql, size_t length)
{
    struct statement *statement =
        parse_statement(sql, length, &database->statement_arena, database->error);
    bool ok = statement != NULL && run_parsed(database, statement);
    /* Outside of a transaction each statement is one of its own. */
    if (ok && !database->in_transaction)
        ok = pager_commit(&database->pager);
    if (!ok) {
        database->in_transaction = false;
        pager_rollback(&database->pager); /* its error would be the second one */
    }
    arena_reset(&database->statement_arena);
    arena_reset(&database->row_arena);
    return ok;
}
