/* The lines of a file, of any length, one after the other. */

#ifndef SEEK_LINES_H
#define SEEK_LINES_H

#include <stdbool.h>
#include <stddef.h>

struct line {
    const char *bytes; /* without the newline, not terminated */
    size_t length;
};

struct lines {
    int descriptor;
    char *buffer;
    size_t capacity;
    size_t start; /* of the first byte not yet given out */
    size_t end;   /* of what has been read */
    bool at_end;
    int error; /* an errno; 0 while reading goes well */
};

/* Starts reading; the buffer is reused from file to file. */
void lines_open(struct lines *lines, int descriptor);

/* The next line, valid until the next call. False at the end and on an error. */
bool lines_next(struct lines *lines, struct line *line);

#endif
