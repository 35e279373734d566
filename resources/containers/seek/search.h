/* Searching one file and printing what is found. */

#ifndef SEEK_SEARCH_H
#define SEEK_SEARCH_H

#include "automaton.h"
#include "finder.h"
#include "lines.h"

/* From the most to the least. */
enum output { PRINT_LINES, PRINT_MATCHES, PRINT_COUNT, PRINT_NAME };

struct search {
    struct automaton *automaton;
    struct finder *finder;
    enum output output;
    bool invert;       /* select the lines that do not match */
    bool line_numbers;
    bool names;        /* print the file's name before each line */
    size_t before;     /* lines of context, with PRINT_LINES */
    size_t after;
    struct lines lines;
    struct context *context; /* used by search_file alone */
    bool printed_group;
};

/* Searches what `descriptor` reads. False with errno set if it cannot be read to
 * its end; otherwise `*selected` says whether any line was selected. */
bool search_file(struct search *search, int descriptor, const char *name, bool *selected);

#endif
