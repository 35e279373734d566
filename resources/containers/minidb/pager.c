#include "pager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

enum {
    MAX_FRAMES = 512, /* 2 MiB of cache */
    BUCKETS = 1024,
    NO_FRAME = -1,
};

/* Page 0: magic, page size, page count, first free page, catalog. */
#define MAGIC "minidb01"

enum { MAGIC_BYTES = 8, AT_PAGE_BYTES = 8, AT_COUNT = 12, AT_FREE = 16, AT_CATALOG = 20 };

struct frame {
    page_number number;
    bool dirty; /* differs from the file */
    int next;   /* in the chain of its bucket */
    uint8_t *content;
};

/* ---- the file ------------------------------------------------------------- */

static bool read_file(struct pager *pager, page_number number, uint8_t *content)
{
    ssize_t count = pread(pager->descriptor, content, PAGE_BYTES, (off_t)number * PAGE_BYTES);
    if (count == -1)
        return fail_io(pager->error, pager->path);
    if (count != PAGE_BYTES)
        return fail_corrupt(pager->error, "the file ends before page %lu", (unsigned long)number);
    return true;
}

static bool write_file(struct pager *pager, const struct frame *frame)
{
    off_t offset = (off_t)frame->number * PAGE_BYTES;
    return pwrite(pager->descriptor, frame->content, PAGE_BYTES, offset) == PAGE_BYTES ||
           fail_io(pager->error, pager->path);
}

/* ---- the cache ------------------------------------------------------------ */

static int *bucket_of(const struct pager *pager, page_number number)
{
    return &pager->buckets[number % BUCKETS];
}

static struct frame *find_frame(const struct pager *pager, page_number number)
{
    int index = *bucket_of(pager, number);
    while (index != NO_FRAME && pager->frames[index].number != number)
        index = pager->frames[index].next;
    return index == NO_FRAME ? NULL : &pager->frames[index];
}

static void unlink_frame(struct pager *pager, int index)
{
    int *link = bucket_of(pager, pager->frames[index].number);
    while (*link != index)
        link = &pager->frames[*link].next;
    *link = pager->frames[index].next;
}

/* Writes all changed pages to the file. Safe in the middle of a transaction, as
 * the journal knows what they held. */
static bool flush(struct pager *pager)
{
    if (!journal_sync(&pager->journal, pager->error))
        return false;
    for (int i = 0; i < pager->frame_count; i++) {
        struct frame *frame = &pager->frames[i];
        if (frame->dirty && !write_file(pager, frame))
            return false;
        frame->dirty = false;
    }
    return true;
}

/* A frame for a page that is not cached, with its content still to be filled. */
static struct frame *new_frame(struct pager *pager, page_number number)
{
    int index;
    if (pager->frame_count < MAX_FRAMES) {
        index = pager->frame_count++;
        pager->frames[index].content = allocate(NULL, PAGE_BYTES, 1);
    } else {
        int looked_at = 0;
        while (looked_at < MAX_FRAMES && pager->frames[pager->next_victim].dirty) {
            pager->next_victim = (pager->next_victim + 1) % MAX_FRAMES;
            looked_at++;
        }
        if (looked_at == MAX_FRAMES && !flush(pager))
            return NULL;
        index = pager->next_victim;
        pager->next_victim = (pager->next_victim + 1) % MAX_FRAMES;
        unlink_frame(pager, index);
    }
    struct frame *frame = &pager->frames[index];
    int *bucket = bucket_of(pager, number);
    frame->number = number;
    frame->dirty = false;
    frame->next = *bucket;
    *bucket = index;
    return frame;
}

static void forget_frames(struct pager *pager)
{
    for (int i = 0; i < pager->frame_count; i++)
        free(pager->frames[i].content);
    pager->frame_count = 0;
    pager->next_victim = 0;
    for (int i = 0; i < BUCKETS; i++)
        pager->buckets[i] = NO_FRAME;
}

static bool check_number(struct pager *pager, page_number number)
{
    return number < pager->page_count ||
           fail_corrupt(pager->error, "a link to page %lu of %lu", (unsigned long)number,
                        (unsigned long)pager->page_count);
}

bool pager_read(struct pager *pager, page_number number, uint8_t *content)
{
    if (!check_number(pager, number))
        return false;
    struct frame *frame = find_frame(pager, number);
    if (frame == NULL) {
        if (!read_file(pager, number, content) || (frame = new_frame(pager, number)) == NULL)
            return false;
        memcpy(frame->content, content, PAGE_BYTES);
        return true;
    }
    memcpy(content, frame->content, PAGE_BYTES);
    return true;
}

/* Puts what the page holds into the journal, unless it is there or the page is
 * new. Starts the journal if this is the transaction's first change. */
static bool save_original(struct pager *pager, page_number number)
{
    struct journal *journal = &pager->journal;
    uint8_t original[PAGE_BYTES];
    if (journal->descriptor == -1 && !journal_begin(journal, pager->page_count, pager->error))
        return false;
    if (!journal_needs(journal, number))
        return true;
    return pager_read(pager, number, original) &&
           journal_add(journal, number, original, pager->error);
}

bool pager_write(struct pager *pager, page_number number, const uint8_t *content)
{
    if (!check_number(pager, number) || !save_original(pager, number))
        return false;
    struct frame *frame = find_frame(pager, number);
    if (frame == NULL && (frame = new_frame(pager, number)) == NULL)
        return false;
    memcpy(frame->content, content, PAGE_BYTES);
    frame->dirty = true;
    return true;
}

/* ---- the header ----------------------------------------------------------- */

static void fill_header(const struct pager *pager, uint8_t *header)
{
    memset(header, 0, PAGE_BYTES);
    memcpy(header, MAGIC, MAGIC_BYTES);
    store32(header + AT_PAGE_BYTES, PAGE_BYTES);
    store32(header + AT_COUNT, pager->page_count);
    store32(header + AT_FREE, pager->first_free);
    store32(header + AT_CATALOG, pager->catalog);
}

static bool write_header(struct pager *pager)
{
    uint8_t header[PAGE_BYTES];
    fill_header(pager, header);
    return pager_write(pager, 0, header);
}

static bool read_header(struct pager *pager)
{
    uint8_t header[PAGE_BYTES];
    struct stat status;
    pager->page_count = 1; /* so that page 0 can be read */
    if (!pager_read(pager, 0, header))
        return false;
    if (memcmp(header, MAGIC, MAGIC_BYTES) != 0)
        return fail_corrupt(pager->error, "%s is not a minidb database", pager->path);
    if (load32(header + AT_PAGE_BYTES) != PAGE_BYTES)
        return fail_corrupt(pager->error, "pages of %lu bytes instead of %d",
                            (unsigned long)load32(header + AT_PAGE_BYTES), PAGE_BYTES);
    if (fstat(pager->descriptor, &status) == -1)
        return fail_io(pager->error, pager->path);
    pager->page_count = load32(header + AT_COUNT);
    pager->first_free = load32(header + AT_FREE);
    pager->catalog = load32(header + AT_CATALOG);
    if (pager->page_count == 0 || (off_t)pager->page_count * PAGE_BYTES > status.st_size)
        return fail_corrupt(pager->error, "%lu pages in a file of %llu bytes",
                            (unsigned long)pager->page_count,
                            (unsigned long long)status.st_size);
    return true;
}

/* A new database is its header alone, written at once: before that there is
 * nothing a journal could protect. */
static bool write_first_header(struct pager *pager)
{
    uint8_t header[PAGE_BYTES];
    pager->page_count = 1;
    pager->first_free = pager->catalog = 0;
    fill_header(pager, header);
    if (pwrite(pager->descriptor, header, PAGE_BYTES, 0) != PAGE_BYTES ||
        fsync(pager->descriptor) == -1)
        return fail_io(pager->error, pager->path);
    return true;
}

/* ---- opening, closing, transactions --------------------------------------- */

bool pager_open(struct pager *pager, const char *path, struct error *error)
{
    struct stat status;
    memset(pager, 0, sizeof *pager);
    pager->error = error;
    pager->path = allocate(NULL, strlen(path) + 1, 1);
    strcpy(pager->path, path);
    journal_init(&pager->journal, path);
    pager->frames = allocate(NULL, MAX_FRAMES, sizeof *pager->frames);
    pager->buckets = allocate(NULL, BUCKETS, sizeof *pager->buckets);
    forget_frames(pager);
    pager->descriptor = open(path, O_RDWR | O_CREAT, 0644);
    if (pager->descriptor == -1)
        return fail_io(error, path);
    if (!journal_play_back(&pager->journal, pager->descriptor, error))
        return false;
    if (fstat(pager->descriptor, &status) == -1)
        return fail_io(error, path);
    return status.st_size == 0 ? write_first_header(pager) : read_header(pager);
}

void pager_close(struct pager *pager)
{
    forget_frames(pager);
    if (pager->descriptor != -1)
        close(pager->descriptor);
    free(pager->frames);
    free(pager->buckets);
    free(pager->path);
    free(pager->journal.path);
    free(pager->journal.journaled);
    memset(pager, 0, sizeof *pager);
    pager->descriptor = -1;
}

bool pager_allocate(struct pager *pager, page_number *number)
{
    uint8_t content[PAGE_BYTES];
    if (pager->first_free == 0) {
        if (pager->page_count == UINT32_MAX)
            return fail_sql(pager->error, 0, "the database is full");
        /* The journal has to begin with the old count. */
        if (!save_original(pager, 0))
            return false;
        *number = pager->page_count++;
        return write_header(pager);
    }
    *number = pager->first_free;
    if (!pager_read(pager, *number, content))
        return false;
    if (content[0] != PAGE_FREE)
        return fail_corrupt(pager->error, "page %lu is in use and listed as free",
                            (unsigned long)*number);
    pager->first_free = load32(content + 4);
    return write_header(pager);
}

bool pager_free(struct pager *pager, page_number number)
{
    uint8_t content[PAGE_BYTES] = { PAGE_FREE };
    store32(content + 4, pager->first_free);
    if (!pager_write(pager, number, content))
        return false;
    pager->first_free = number;
    return write_header(pager);
}

bool pager_set_catalog(struct pager *pager, page_number root)
{
    pager->catalog = root;
    return write_header(pager);
}

bool pager_commit(struct pager *pager)
{
    if (pager->journal.descriptor == -1) /* nothing was changed */
        return true;
    if (!flush(pager))
        return false;
    if (fsync(pager->descriptor) == -1)
        return fail_io(pager->error, pager->path);
    return journal_remove(&pager->journal, pager->error);
}

bool pager_rollback(struct pager *pager)
{
    if (pager->journal.descriptor == -1)
        return true;
    /* Changed pages may have reached the file when the cache was full; then the
     * journal is synced, and playing it back undoes them. */
    forget_frames(pager);
    close(pager->journal.descriptor);
    pager->journal.descriptor = -1;
    return journal_play_back(&pager->journal, pager->descriptor, pager->error) &&
           read_header(pager);
}
