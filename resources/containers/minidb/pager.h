/* The pages of a database file, cached, with transactions over them.
 *
 * Pages are copied in and out, so that nobody holds on to cached memory. The
 * first change opens a transaction by itself; it ends with commit or rollback. */

#ifndef MINIDB_PAGER_H
#define MINIDB_PAGER_H

#include "journal.h"

struct pager {
    char *path;
    int descriptor;
    struct error *error; /* where every failure is noted */
    struct journal journal;

    page_number page_count; /* these three are stored in page 0 */
    page_number first_free;
    page_number catalog;    /* root of the tree of tables; 0 in a new database */

    struct frame *frames;
    int frame_count;
    int *buckets;    /* hash table: the first frame of each chain, or -1 */
    int next_victim; /* where the search for a frame to use again goes on */
};

/* Opens or creates a database, after undoing what a killed process left. */
bool pager_open(struct pager *pager, const char *path, struct error *error);

/* Closes the file; an open transaction has to be ended before. */
void pager_close(struct pager *pager);

bool pager_read(struct pager *pager, page_number number, uint8_t *content);
bool pager_write(struct pager *pager, page_number number, const uint8_t *content);

/* Finds a page that is not in use. Its content is undefined until written. */
bool pager_allocate(struct pager *pager, page_number *number);
bool pager_free(struct pager *pager, page_number number);

bool pager_set_catalog(struct pager *pager, page_number root);

bool pager_commit(struct pager *pager);
bool pager_rollback(struct pager *pager);

#endif
