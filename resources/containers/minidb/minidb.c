/* minidb: runs SQL on a database file.
 *
 * Statements come from the arguments or from standard input, where each one is
 * run as soon as its semicolon has been read. The first error ends the program,
 * after the transaction it happened in has been rolled back. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "database.h"

enum { READ_BYTES = 64 * 1024, MAX_STATEMENT_BYTES = 8 * 1024 * 1024 };

/* SQL text that is run statement by statement. */
struct script {
    struct database *database;
    size_t line, column; /* of the next statement, from 1, in characters */
};

static void advance(struct script *script, const char *sql, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (sql[i] == '\n') {
            script->line++;
            script->column = 1;
        } else if (((unsigned char)sql[i] & 0xc0) != 0x80) {
            script->column++;
        }
    }
}

static void report(const struct script *script, const char *sql)
{
    const struct error *error = script->database->error;
    fflush(stdout);
    if (error->kind == ERROR_SQL) {
        struct script place = *script;
        advance(&place, sql, error->offset);
        fprintf(stderr, "minidb: %zu:%zu: %s\n", place.line, place.column, error->message);
    } else {
        fprintf(stderr, "minidb: %s%s\n",
                error->kind == ERROR_CORRUPT ? "the database is corrupt: " : "", error->message);
    }
}

/* Runs the complete statements of a text, and with `last` what is left after
 * them too. Says how much of the text was used. */
static bool run_text(struct script *script, const char *sql, size_t length, bool last,
                     size_t *used)
{
    *used = 0;
    for (;;) {
        size_t statement = 0, blanks = 0;
        /* Errors about a statement as a whole point at its first word. */
        while (*used + blanks < length && sql[*used + blanks] != '\0' &&
               strchr(" \t\r\n", sql[*used + blanks]) != NULL)
            blanks++;
        advance(script, sql + *used, blanks);
        *used += blanks;
        const char *start = sql + *used;
        if (!find_statement_end(start, length - *used, &statement)) {
            if (!last || *used == length)
                return true;
            statement = length - *used;
        }
        if (!database_run(script->database, start, statement)) {
            report(script, start);
            return false;
        }
        fflush(stdout); /* answers are there before the next statement is run */
        advance(script, start, statement);
        *used += statement;
    }
}

static bool run_input(struct script *script)
{
    char *buffer = NULL;
    size_t length = 0, capacity = 0;
    for (;;) {
        size_t used;
        if (capacity - length < READ_BYTES) {
            capacity = capacity * 2 + READ_BYTES;
            buffer = allocate(buffer, capacity, 1);
        }
        ssize_t count = read(STDIN_FILENO, buffer + length, capacity - length);
        if (count == -1 && errno == EINTR)
            continue;
        if (count == -1) {
            fail_io(script->database->error, "standard input");
            report(script, "");
            return false;
        }
        length += (size_t)count;
        if (!run_text(script, buffer, length, count == 0, &used))
            return false;
        if (count == 0)
            return true;
        length -= used;
        memmove(buffer, buffer + used, length);
        if (length > MAX_STATEMENT_BYTES) {
            fail_sql(script->database->error, 0, "the statement is too long");
            report(script, buffer);
            return false;
        }
    }
}

static bool run_arguments(struct script *script, char **arguments, int count)
{
    for (int i = 0; i < count; i++) {
        size_t used;
        script->line = script->column = 1;
        if (!run_text(script, arguments[i], strlen(arguments[i]), true, &used))
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct error error;
    static struct database database;
    struct script script = { &database, 1, 1 };
    if (argc < 2 || argv[1][0] == '-' || argv[1][0] == '\0') {
        fputs("usage: minidb FILE [SQL]...\n"
              "Without SQL, statements are read from standard input.\n",
              stderr);
        return ERROR_USAGE;
    }
    if (!database_open(&database, argv[1], &error)) {
        report(&script, "");
        return error.kind;
    }
    bool ok = argc > 2 ? run_arguments(&script, argv + 2, argc - 2) : run_input(&script);
    if (ok && database.in_transaction) {
        fail_sql(&error, 0, "the last transaction was not committed");
        report(&script, "");
        ok = false;
    }
    if (!database_close(&database) && ok) {
        report(&script, "");
        ok = false;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("minidb: standard output");
        return ERROR_IO;
    }
    return ok ? 0 : error.kind;
}
