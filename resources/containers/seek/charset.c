#include "charset.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

void charset_add(struct charset *set, uint32_t first, uint32_t last)
{
    if (set->count == set->capacity) {
        set->capacity = set->capacity == 0 ? 4 : set->capacity * 2;
        set->ranges = allocate(set->ranges, set->capacity, sizeof *set->ranges);
    }
    set->ranges[set->count].first = first;
    set->ranges[set->count++].last = last;
}

void charset_add_set(struct charset *set, const struct charset *other)
{
    for (size_t i = 0; i < other->count; i++)
        charset_add(set, other->ranges[i].first, other->ranges[i].last);
}

static int compare_ranges(const void *a, const void *b)
{
    const struct charset_range *left = a, *right = b;
    return (left->first > right->first) - (left->first < right->first);
}

void charset_tidy(struct charset *set)
{
    if (set->count == 0)
        return;
    qsort(set->ranges, set->count, sizeof *set->ranges, compare_ranges);
    size_t kept = 0;
    for (size_t i = 1; i < set->count; i++) {
        struct charset_range next = set->ranges[i];
        if (next.first <= set->ranges[kept].last + 1) {
            if (next.last > set->ranges[kept].last)
                set->ranges[kept].last = next.last;
        } else {
            set->ranges[++kept] = next;
        }
    }
    set->count = kept + 1;
}

void charset_negate(struct charset *set)
{
    struct charset others = { 0 };
    uint32_t next = 0; /* the first code point not yet decided on */
    charset_tidy(set);
    for (size_t i = 0; i < set->count; i++) {
        if (set->ranges[i].first > next)
            charset_add(&others, next, set->ranges[i].first - 1);
        next = set->ranges[i].last + 1;
    }
    if (next <= LAST_CODE_POINT)
        charset_add(&others, next, LAST_CODE_POINT);
    charset_free(set);
    *set = others;
}

/* Adds the part of `range` within `first` to `last`, moved by `distance`. */
static void add_shifted(struct charset *set, struct charset_range range, uint32_t first,
                        uint32_t last, int distance)
{
    if (range.first > first)
        first = range.first;
    if (range.last < last)
        last = range.last;
    if (first <= last)
        charset_add(set, (uint32_t)((int)first + distance), (uint32_t)((int)last + distance));
}

void charset_add_cases(struct charset *set)
{
    size_t count = set->count; /* the set grows while it is walked */
    for (size_t i = 0; i < count; i++) {
        add_shifted(set, set->ranges[i], 'a', 'z', 'A' - 'a');
        add_shifted(set, set->ranges[i], 'A', 'Z', 'a' - 'A');
    }
}

bool charset_add_class(struct charset *set, const char *name, size_t length)
{
    static const struct {
        const char *name;
        const char *ranges; /* first and last of each range, one after the other */
    } classes[] = {
        { "alnum", "09AZaz" }, { "alpha", "AZaz" },       { "blank", "  \t\t" },
        { "cntrl", NULL },     { "digit", "09" },         { "graph", "!~" },
        { "lower", "az" },     { "print", " ~" },         { "punct", "!/:@[`{~" },
        { "space", "\t\r  " }, { "upper", "AZ" },         { "xdigit", "09AFaf" },
        { "word", "09AZ__az" },
    };
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (strlen(classes[i].name) != length || memcmp(classes[i].name, name, length) != 0)
            continue;
        if (classes[i].ranges == NULL) { /* cntrl, whose first is the terminator itself */
            charset_add(set, 0, 0x1f);
            charset_add(set, 0x7f, 0x7f);
            return true;
        }
        for (const char *range = classes[i].ranges; *range != '\0'; range += 2)
            charset_add(set, (unsigned char)range[0], (unsigned char)range[1]);
        if (strcmp(classes[i].name, "word") == 0)
            charset_add(set, 0x80, LAST_CODE_POINT);
        return true;
    }
    return false;
}

bool charset_add_escape(struct charset *set, char letter)
{
    static const struct {
        char letter;
        const char *name;
    } escapes[] = { { 'd', "digit" }, { 'w', "word" }, { 's', "space" } };
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        bool negated = letter == escapes[i].letter + 'A' - 'a';
        if (letter != escapes[i].letter && !negated)
            continue;
        struct charset members = { 0 };
        charset_add_class(&members, escapes[i].name, strlen(escapes[i].name));
        if (negated)
            charset_negate(&members);
        charset_add_set(set, &members);
        charset_free(&members);
        return true;
    }
    return false;
}

void charset_free(struct charset *set)
{
    free(set->ranges);
    memset(set, 0, sizeof *set);
}
