/* pages: writes to a number of pages, spread over its memory, again and again.
 *
 * The container to measure snapshots and rollbacks with: how many pages change
 * between two lines of its output is what it was told. Each round writes one
 * byte into every page, then prints the round's number and waits. */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { EXIT_USAGE = 2, PAGE = 4096, MOST_PAGES = 1 << 20 };

static int parse_number(const char *what, const char *text, unsigned long max, unsigned long *value)
{
    char *end;
    errno = 0;
    unsigned long parsed = strtoul(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || parsed > max) {
        fprintf(stderr, "pages: %s %s: not a number from 0 to %lu\n", what, text, max);
        return 0;
    }
    *value = parsed;
    return 1;
}

int main(int argc, char **argv)
{
    unsigned long pages, interval_ms, rounds;
    if (argc != 4 || !parse_number("PAGES", argv[1], MOST_PAGES, &pages) ||
        !parse_number("INTERVAL_MS", argv[2], 60000, &interval_ms) ||
        !parse_number("ROUNDS", argv[3], UINT32_MAX, &rounds)) {
        fputs("usage: pages PAGES INTERVAL_MS ROUNDS (0 rounds: without end)\n", stderr);
        return EXIT_USAGE;
    }

    /* Nobody reads it: without volatile nothing would be written. */
    volatile unsigned char *memory = malloc((size_t)pages * PAGE + 1);
    if (memory == NULL) {
        fprintf(stderr, "pages: no memory for %lu pages\n", pages);
        return 1;
    }

    struct timespec wait = {
        .tv_sec = (time_t)(interval_ms / 1000),
        .tv_nsec = (long)(interval_ms % 1000) * 1000000L,
    };
    for (unsigned long round = 1;; round++) {
        for (unsigned long page = 0; page < pages; page++)
            memory[page * PAGE] = (unsigned char)(round + page);
        if (printf("%lu\n", round) < 0 || fflush(stdout) != 0) {
            perror("pages: standard output");
            return 1;
        }
        if (round == rounds)
            return 0;
        nanosleep(&wait, NULL);
    }
}
