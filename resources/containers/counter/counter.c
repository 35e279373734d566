/* counter: prints 1, 2, 3, ... one number per interval.
 *
 * The container to snapshot, pause and roll back: what it prints next says
 * which state it is in. Each line is flushed at once, so a reader on the other
 * side of a pipe sees a number as soon as it is counted. */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { EXIT_USAGE = 2 };

#define DEFAULT_INTERVAL_MS 1000u
#define MAX_INTERVAL_MS (24u * 60u * 60u * 1000u)

struct plan {
    uint64_t interval_ms;
    uint64_t count; /* numbers to print; 0 means without end */
};

static int usage(void)
{
    fputs("usage: counter [--interval-ms N] [--count N]\n", stderr);
    return EXIT_USAGE;
}

static int parse_number(const char *option, const char *text, uint64_t max, uint64_t *value)
{
    char *end;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    /* strtoull accepts a sign and leading blanks; a count has neither. */
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || parsed > max) {
        fprintf(stderr, "counter: %s %s: not a number from 0 to %llu\n", option, text,
                (unsigned long long)max);
        return 0;
    }
    *value = parsed;
    return 1;
}

static int parse_arguments(int argc, char **argv, struct plan *plan)
{
    for (int i = 1; i < argc; i += 2) {
        uint64_t *target;
        uint64_t max;
        if (strcmp(argv[i], "--interval-ms") == 0) {
            target = &plan->interval_ms;
            max = MAX_INTERVAL_MS;
        } else if (strcmp(argv[i], "--count") == 0) {
            target = &plan->count;
            max = UINT64_MAX;
        } else {
            fprintf(stderr, "counter: unknown option %s\n", argv[i]);
            return 0;
        }
        if (i + 1 >= argc) {
            fprintf(stderr, "counter: %s needs a value\n", argv[i]);
            return 0;
        }
        if (!parse_number(argv[i], argv[i + 1], max, target))
            return 0;
    }
    return 1;
}

/* Sleeps the whole interval. A sleep may end early (EINTR); what is left is
 * then slept, so that no number comes too soon. */
static int sleep_ms(uint64_t interval_ms)
{
    struct timespec left = {
        .tv_sec = (time_t)(interval_ms / 1000),
        .tv_nsec = (long)(interval_ms % 1000) * 1000000L,
    };
    while (nanosleep(&left, &left) != 0) {
        if (errno != EINTR) {
            perror("counter: nanosleep");
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv)
{
    struct plan plan = { .interval_ms = DEFAULT_INTERVAL_MS, .count = 0 };
    if (!parse_arguments(argc, argv, &plan))
        return usage();

    for (uint64_t number = 1;; number++) {
        if (printf("%llu\n", (unsigned long long)number) < 0 || fflush(stdout) != 0) {
            perror("counter: standard output");
            return 1;
        }
        if (number == plan.count)
            return 0;
        if (!sleep_ms(plan.interval_ms))
            return 1;
    }
}
