#include "search.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"

/* Copies of the last few lines, which are printed if the next one is selected. */
struct kept_line {
    char *bytes;
    size_t length;
    size_t capacity;
    unsigned long long number;
};

struct context {
    struct kept_line *lines; /* a ring of search->before */
    size_t oldest;
    size_t count;
};

static void keep_line(struct search *search, const struct line *line, unsigned long long number)
{
    struct context *context = search->context;
    if (search->before == 0)
        return;
    struct kept_line *kept = &context->lines[(context->oldest + context->count) % search->before];
    if (context->count < search->before)
        context->count++;
    else
        context->oldest = (context->oldest + 1) % search->before;
    if (kept->capacity < line->length) {
        kept->bytes = allocate(kept->bytes, line->length, 1);
        kept->capacity = line->length;
    }
    if (line->length > 0)
        memcpy(kept->bytes, line->bytes, line->length);
    kept->length = line->length;
    kept->number = number;
}

/* `mark` is ':' before selected lines and '-' before those of the context. */
static void print_line(const struct search *search, const char *name, unsigned long long number,
                       const char *bytes, size_t length, char mark)
{
    if (search->names)
        printf("%s%c", name, mark);
    if (search->line_numbers)
        printf("%llu%c", number, mark);
    if (length > 0) /* an empty line may have no bytes to point to */
        fwrite(bytes, 1, length, stdout);
    putchar('\n');
}

/* `last_printed` is the number of the last line printed from this file; 0 if
 * none. Groups of lines that do not touch are set apart. */
static void print_before(struct search *search, const char *name, unsigned long long number,
                         unsigned long long last_printed)
{
    struct context *context = search->context;
    unsigned long long first = number - context->count;
    bool touches = last_printed != 0 && last_printed + 1 == first;
    if ((search->before > 0 || search->after > 0) && search->printed_group && !touches)
        puts("--");
    for (; context->count > 0; context->count--) {
        const struct kept_line *kept = &context->lines[context->oldest];
        print_line(search, name, kept->number, kept->bytes, kept->length, '-');
        context->oldest = (context->oldest + 1) % search->before;
    }
    search->printed_group = true;
}

static void print_matches(struct search *search, const char *name, unsigned long long number,
                          const struct line *line)
{
    struct match match;
    size_t from = 0;
    if (search->invert) /* there is nothing to show in a line that does not match */
        return;
    while (from <= line->length &&
           finder_find(search->finder, line->bytes, line->length, from, &match)) {
        if (match.end == match.start) { /* nothing to show here, and no way forward */
            from = match.end + 1;
            continue;
        }
        print_line(search, name, number, line->bytes + match.start, match.end - match.start, ':');
        from = match.end;
    }
}

static void make_context(struct search *search)
{
    if (search->context == NULL) {
        search->context = allocate(NULL, 1, sizeof *search->context);
        search->context->lines = allocate(NULL, search->before, sizeof *search->context->lines);
        if (search->before > 0)
            memset(search->context->lines, 0, search->before * sizeof *search->context->lines);
    }
    search->context->oldest = search->context->count = 0;
}

bool search_file(struct search *search, int descriptor, const char *name, bool *selected)
{
    unsigned long long number = 0, count = 0, last_printed = 0;
    size_t after_left = 0; /* lines of context still to print */
    struct line line;
    make_context(search);
    lines_open(&search->lines, descriptor);
    while (lines_next(&search->lines, &line)) {
        number++;
        if (automaton_matches(search->automaton, line.bytes, line.length) != search->invert) {
            count++;
            if (search->output == PRINT_NAME)
                break;
            if (search->output == PRINT_MATCHES)
                print_matches(search, name, number, &line);
            if (search->output != PRINT_LINES)
                continue;
            print_before(search, name, number, last_printed);
            print_line(search, name, number, line.bytes, line.length, ':');
            last_printed = number;
            after_left = search->after;
        } else if (search->output == PRINT_LINES && after_left > 0) {
            print_line(search, name, number, line.bytes, line.length, '-');
            last_printed = number;
            after_left--;
        } else if (search->output == PRINT_LINES) {
            keep_line(search, &line, number);
        }
    }
    if (search->output == PRINT_COUNT && search->lines.error == 0) {
        if (search->names)
            printf("%s:", name);
        printf("%llu\n", count);
    }
    if (search->output == PRINT_NAME && count > 0)
        puts(name);
    *selected = count > 0;
    errno = search->lines.error;
    return search->lines.error == 0;
}
