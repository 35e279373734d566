/* One line per check: `ok   WHAT`, or `FAIL WHAT: what was seen instead`. */

#ifndef FSCHECK_CHECK_H
#define FSCHECK_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Starts a group; its name precedes its checks in the output. */
void check_group(const char *name);

/* Reports whether `held`. */
bool check(bool held, const char *what);

/* Reports whether `got` is `wanted`, and both numbers where it is not. */
bool check_equal(long long got, long long wanted, const char *what);

/* Reports whether a call that returns -1 on failure succeeded. `result` must be
 * the call itself or its untouched result: errno is read here. */
bool check_success(long long result, const char *what);

/* Reports whether a call failed with `wanted` (or, where POSIX lets an
 * implementation choose, with `alternative`). */
bool check_fails(long long result, int wanted, const char *what);
bool check_fails_either(long long result, int wanted, int alternative, const char *what);

/* Reports whether the file at `path` holds exactly these bytes. */
bool check_content(const char *path, const char *wanted, size_t length, const char *what);

/* Prints the totals; true when nothing failed. */
bool check_summary(void);

/* Creates or replaces a file. Part of preparing a check, so a failure is
 * reported as a failed check of that name. */
bool prepare_file(const char *path, const char *content);

/* The groups, each in the file of its name, all relative to the directory the
 * program works in. Each cleans up after itself and needs no other. */
void check_files(void);
void check_offsets(void);
void check_directories(void);
void check_names(void);
void check_errors(void);

#endif
