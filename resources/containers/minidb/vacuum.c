/* VACUUM: writes the database anew without free pages and puts the new file in
 * the place of the old one. A rename replaces it as a whole, so that whoever
 * opens the database finds the old or the new one, never a part. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "database.h"

struct copy {
    struct database *from;
    struct database *to;
    bool ok;
};

static bool copy_rows(struct copy *copy, const struct table *table, const struct table *new_table)
{
    struct cursor cursor;
    bool found, exists;
    if (!cursor_seek(&cursor, &copy->from->pager, table->root, INT64_MIN, &found))
        return false;
    while (found) {
        const uint8_t *record;
        uint32_t record_bytes;
        arena_reset(&copy->from->row_arena);
        if (!cursor_record(&cursor, &copy->from->row_arena, &record, &record_bytes) ||
            !tree_insert(&copy->to->pager, new_table->root, cursor_rowid(&cursor), record,
                         record_bytes, &exists) ||
            !cursor_next(&cursor, &found))
            return false;
    }
    return true;
}

static bool copy_table(void *context, const struct table *table, struct text sql)
{
    struct copy *copy = context;
    struct arena *arena = &copy->from->statement_arena;
    struct table new_table;
    bool found;
    const struct statement *create =
        parse_statement(sql.bytes, sql.length, arena, copy->to->error);
    copy->ok = create != NULL && catalog_create(&copy->to->pager, arena, create) &&
               catalog_find(&copy->to->pager, arena, table->name, &new_table, &found) &&
               copy_rows(copy, table, &new_table);
    return copy->ok;
}

static bool copy_database(struct database *from, struct database *to)
{
    struct copy copy = { from, to, true };
    return catalog_each(&from->pager, &from->statement_arena, copy_table, &copy) && copy.ok &&
           pager_commit(&to->pager);
}

static char *path_with(const char *path, const char *suffix)
{
    size_t size = strlen(path) + strlen(suffix) + 1;
    char *joined = allocate(NULL, size, 1);
    snprintf(joined, size, "%s%s", path, suffix);
    return joined;
}

/* What an earlier VACUUM left when it was killed is of no use; its journal least
 * of all, as it would be played back into the new file. */
static bool remove_leftovers(const char *copy_path, struct error *error)
{
    char *journal = path_with(copy_path, "-journal");
    bool ok = (unlink(copy_path) == 0 || errno == ENOENT || fail_io(error, copy_path)) &&
              (unlink(journal) == 0 || errno == ENOENT || fail_io(error, journal));
    free(journal);
    return ok;
}

bool run_vacuum(struct database *database)
{
    struct database copy;
    char *path = path_with(database->pager.path, "");
    char *copy_path = path_with(path, "-vacuum");
    bool ok = remove_leftovers(copy_path, database->error);
    if (ok) {
        ok = database_open(&copy, copy_path, database->error) && copy_database(database, &copy);
        ok = database_close(&copy) && ok;
        if (ok) {
            pager_close(&database->pager);
            ok = rename(copy_path, path) == 0 || fail_io(database->error, copy_path);
            /* The old file or the new one: either way the database goes on. */
            ok = pager_open(&database->pager, path, database->error) && ok;
        } else {
            unlink(copy_path);
        }
    }
    free(copy_path);
    free(path);
    return ok;
}
