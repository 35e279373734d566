/* A database that is open, and statements run on it. */

#ifndef MINIDB_DATABASE_H
#define MINIDB_DATABASE_H

#include "evaluate.h"
#include "tree.h"

struct database {
    struct pager pager;
    struct error *error;
    struct arena statement_arena; /* emptied after each statement */
    struct arena row_arena;       /* emptied after each row */
    bool in_transaction;          /* between BEGIN and COMMIT */
};

bool database_open(struct database *database, const char *path, struct error *error);

/* Undoes an open transaction and closes the file. */
bool database_close(struct database *database);

/* Runs one statement. What SELECT gives goes to standard output. After an error
 * the open transaction has been rolled back. */
bool database_run(struct database *database, const char *sql, size_t length);

/* The table a statement names; an error if there is none. */
bool database_find_table(struct database *database, const struct statement *statement,
                         struct table *table);

/* What database_run does for each kind. */
bool run_select(struct database *database, struct statement *statement);
bool run_insert(struct database *database, struct statement *statement);
bool run_update(struct database *database, struct statement *statement);
bool run_delete(struct database *database, struct statement *statement);
bool run_vacuum(struct database *database);

#endif
