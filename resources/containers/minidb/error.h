/* What went wrong. Every function that can fail returns false (or NULL) and has
 * said here what it was; callers pass that on. */

#ifndef MINIDB_ERROR_H
#define MINIDB_ERROR_H

#include <stdbool.h>
#include <stddef.h>

/* The values are the program's exit codes. */
enum error_kind {
    ERROR_NONE = 0,
    ERROR_SQL = 1,     /* the statement is wrong, or wrong for this database */
    ERROR_USAGE = 2,
    ERROR_IO = 3,      /* the file system refused */
    ERROR_CORRUPT = 4, /* the file is not what minidb wrote */
};

struct error {
    enum error_kind kind;
    size_t offset; /* in the statement, for ERROR_SQL */
    char message[200];
};

/* Notes the first error. Always false. */
bool fail_sql(struct error *error, size_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool fail_corrupt(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Adds the meaning of errno to `what`. */
bool fail_io(struct error *error, const char *what);

#endif
