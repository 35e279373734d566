/* The tables of a database.
 *
 * The catalog is a tree like every table's. Its rows hold a table's name, the
 * root of its tree, and the CREATE TABLE statement, which is read again whenever
 * the table is used. It can be queried as the table minidb_tables. */

#ifndef MINIDB_CATALOG_H
#define MINIDB_CATALOG_H

#include "pager.h"
#include "syntax.h"

struct table {
    struct text name;
    page_number root; /* 0: a table without rows, as the catalog of a new database */
    const struct column *columns;
    int column_count;
    int primary_key; /* the number of the column that is the rowid; -1 if none is */
    int64_t catalog_rowid;
    bool is_catalog;
};

/* Finds a table by name. `*found` is false if there is none. */
bool catalog_find(struct pager *pager, struct arena *arena, struct text name, struct table *table,
                  bool *found);

/* Calls `visit` for each table, in order of creation, until it returns false. */
bool catalog_each(struct pager *pager, struct arena *arena,
                  bool (*visit)(void *context, const struct table *table, struct text sql),
                  void *context);

/* Adds a table that CREATE TABLE describes. Fails if there is one of that name,
 * unless the statement says IF NOT EXISTS. */
bool catalog_create(struct pager *pager, struct arena *arena, const struct statement *create);

/* Removes a table and its rows. */
bool catalog_drop(struct pager *pager, const struct table *table);

#endif
