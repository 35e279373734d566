/* The rows of a table for which a condition holds. */

#ifndef MINIDB_SCAN_H
#define MINIDB_SCAN_H

#include "database.h"

struct scan {
    struct database *database;
    const struct table *table;
    const struct expression *where;
    int64_t highest; /* no row above it can match */
    bool started;
    bool at_end;
    struct cursor cursor;
    struct value row[MAX_COLUMNS]; /* texts live until the next row */
};

/* The columns in `where` have been resolved. Conditions on the primary key decide
 * where the scan starts and ends. Nothing may be changed during a scan. */
bool scan_start(struct scan *scan, struct database *database, const struct table *table,
                const struct expression *where);

/* Goes to the next matching row; `*found` is false after the last one. Empties
 * the row arena before each row. */
bool scan_next(struct scan *scan, bool *found);

/* Reads the row a cursor is at. */
bool read_row(struct database *database, struct cursor *cursor, const struct table *table,
              struct value *row);

/* An evaluation over a row, with results in the row arena. */
struct evaluation evaluation_of(struct database *database, const struct value *row);

#endif
