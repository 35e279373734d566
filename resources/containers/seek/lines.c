#include "lines.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

enum { FIRST_CAPACITY = 64 * 1024 };

void lines_open(struct lines *lines, int descriptor)
{
    lines->descriptor = descriptor;
    lines->start = lines->end = 0;
    lines->at_end = false;
    lines->error = 0;
}

/* Reads more after what is left, moving or growing the buffer for it. */
static void read_more(struct lines *lines)
{
    if (lines->start > 0) {
        memmove(lines->buffer, lines->buffer + lines->start, lines->end - lines->start);
        lines->end -= lines->start;
        lines->start = 0;
    }
    if (lines->end == lines->capacity) {
        lines->capacity = lines->capacity == 0 ? FIRST_CAPACITY : lines->capacity * 2;
        lines->buffer = allocate(lines->buffer, lines->capacity, 1);
    }
    ssize_t count;
    do
        count = read(lines->descriptor, lines->buffer + lines->end, lines->capacity - lines->end);
    while (count == -1 && errno == EINTR);
    if (count > 0)
        lines->end += (size_t)count;
    else
        lines->at_end = true;
    if (count == -1)
        lines->error = errno;
}

bool lines_next(struct lines *lines, struct line *line)
{
    size_t searched = 0; /* bytes known to hold no newline */
    for (;;) {
        size_t left = lines->end - lines->start;
        const char *start = left == 0 ? NULL : lines->buffer + lines->start;
        const char *newline = left == searched ? NULL
                                               : memchr(start + searched, '\n', left - searched);
        if (newline == NULL && !lines->at_end) {
            searched = left;
            read_more(lines);
            continue;
        }
        if (lines->error != 0 || left == 0)
            return false;
        /* The last line may lack its newline. */
        line->bytes = start;
        line->length = newline == NULL ? left : (size_t)(newline - start);
        lines->start += line->length + (newline != NULL);
        return true;
    }
}
