/* The rollback journal: what pages held before a transaction changed them.
 *
 * It lies beside the database (FILE-journal) while a transaction writes. The
 * order of things makes every moment safe to be killed in:
 *
 *   1. the old content of a page goes to the journal
 *   2. the journal is synced
 *   3. changed pages go to the database
 *   4. the database is synced
 *   5. the journal is removed: this is the commit
 *
 * A journal that is there when a database is opened belongs to a transaction
 * that did not reach 5; putting its pages back undoes it. */

#ifndef MINIDB_JOURNAL_H
#define MINIDB_JOURNAL_H

#include <stdint.h>

#include "error.h"
#include "page.h"

struct journal {
    char *path;
    int descriptor; /* -1 while there is no journal */
    bool synced;
    page_number original_count; /* pages of the database before the transaction */
    uint8_t *journaled;         /* one bit per original page */
};

void journal_init(struct journal *journal, const char *database_path);

/* Creates the journal file for a database of `page_count` pages. */
bool journal_begin(struct journal *journal, page_number page_count, struct error *error);

/* Whether this page's old content still has to be added before it is changed. */
bool journal_needs(const struct journal *journal, page_number number);

bool journal_add(struct journal *journal, page_number number, const uint8_t *content,
                 struct error *error);

bool journal_sync(struct journal *journal, struct error *error);

/* Removes the journal file, if there is one. */
bool journal_remove(struct journal *journal, struct error *error);

/* If there is a journal file: undoes its transaction in the database, syncs that
 * and removes the journal. A journal cut short was not synced, so what it lacks
 * was not changed. */
bool journal_play_back(struct journal *journal, int database, struct error *error);

#endif
