#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

/* The file: magic, original page count, checksum of both; then per page its
 * number, the checksum of number and content, the content. */
#define MAGIC "minidbJ1"

enum { MAGIC_BYTES = 8, HEADER_BYTES = 16, ENTRY_BYTES = 8 + PAGE_BYTES };

static uint32_t checksum(uint32_t seed, const uint8_t *bytes, size_t count)
{
    uint32_t hash = 0x811c9dc5u ^ seed; /* FNV-1a */
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ bytes[i]) * 0x01000193u;
    return hash;
}

static bool write_all(int descriptor, const uint8_t *bytes, size_t count)
{
    while (count > 0) {
        ssize_t written = write(descriptor, bytes, count);
        if (written <= 0)
            return false;
        bytes += written;
        count -= (size_t)written;
    }
    return true;
}

/* False at the end of the file, also if that comes too early, and on an error. */
static bool read_all(int descriptor, uint8_t *bytes, size_t count)
{
    while (count > 0) {
        ssize_t got = read(descriptor, bytes, count);
        if (got <= 0)
            return false;
        bytes += got;
        count -= (size_t)got;
    }
    return true;
}

void journal_init(struct journal *journal, const char *database_path)
{
    static const char suffix[] = "-journal";
    size_t length = strlen(database_path);
    journal->path = allocate(NULL, length + sizeof suffix, 1);
    memcpy(journal->path, database_path, length);
    memcpy(journal->path + length, suffix, sizeof suffix);
    journal->descriptor = -1;
    journal->journaled = NULL;
}

bool journal_begin(struct journal *journal, page_number page_count, struct error *error)
{
    uint8_t header[HEADER_BYTES];
    memcpy(header, MAGIC, MAGIC_BYTES);
    store32(header + MAGIC_BYTES, page_count);
    store32(header + 12, checksum(0, header, 12));
    journal->descriptor = open(journal->path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (journal->descriptor == -1 || !write_all(journal->descriptor, header, sizeof header))
        return fail_io(error, journal->path);
    journal->synced = false;
    journal->original_count = page_count;
    size_t bitmap_bytes = page_count / 8 + 1;
    journal->journaled = allocate(journal->journaled, bitmap_bytes, 1);
    memset(journal->journaled, 0, bitmap_bytes);
    return true;
}

bool journal_needs(const struct journal *journal, page_number number)
{
    return number < journal->original_count &&
           (journal->journaled[number / 8] >> number % 8 & 1) == 0;
}

bool journal_add(struct journal *journal, page_number number, const uint8_t *content,
                 struct error *error)
{
    uint8_t entry[ENTRY_BYTES];
    store32(entry, number);
    store32(entry + 4, checksum(number, content, PAGE_BYTES));
    memcpy(entry + 8, content, PAGE_BYTES);
    if (!write_all(journal->descriptor, entry, sizeof entry))
        return fail_io(error, journal->path);
    journal->journaled[number / 8] |= (uint8_t)(1 << number % 8);
    journal->synced = false;
    return true;
}

bool journal_sync(struct journal *journal, struct error *error)
{
    if (!journal->synced && fsync(journal->descriptor) == -1)
        return fail_io(error, journal->path);
    journal->synced = true;
    return true;
}

bool journal_remove(struct journal *journal, struct error *error)
{
    if (journal->descriptor != -1)
        close(journal->descriptor);
    journal->descriptor = -1;
    if (unlink(journal->path) == -1 && errno != ENOENT)
        return fail_io(error, journal->path);
    return true;
}

static bool put_back(int database, const uint8_t *entry)
{
    off_t offset = (off_t)load32(entry) * PAGE_BYTES;
    return pwrite(database, entry + 8, PAGE_BYTES, offset) == PAGE_BYTES;
}

bool journal_play_back(struct journal *journal, int database, struct error *error)
{
    uint8_t header[HEADER_BYTES], entry[ENTRY_BYTES];
    int descriptor = open(journal->path, O_RDONLY);
    if (descriptor == -1)
        return errno == ENOENT || fail_io(error, journal->path);
    bool usable = read_all(descriptor, header, sizeof header) &&
                  memcmp(header, MAGIC, MAGIC_BYTES) == 0 &&
                  load32(header + 12) == checksum(0, header, 12);
    bool ok = true;
    if (usable) {
        page_number original_count = load32(header + MAGIC_BYTES);
        while (ok && read_all(descriptor, entry, sizeof entry)) {
            page_number number = load32(entry);
            if (number >= original_count ||
                load32(entry + 4) != checksum(number, entry + 8, PAGE_BYTES))
                break;
            ok = put_back(database, entry);
        }
        ok = ok && ftruncate(database, (off_t)original_count * PAGE_BYTES) == 0 &&
             fsync(database) == 0;
    }
    if (!ok)
        fail_io(error, "putting back the pages of an unfinished transaction");
    close(descriptor);
    return ok && journal_remove(journal, error);
}
