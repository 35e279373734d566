/* witness: says, again and again, who it is and what time it is.
 *
 * The container to tell a life that goes on from one that began anew. Its nonce
 * was drawn at its start and lies in its memory alone, as does its count of
 * rounds: both go on if, and only if, its memory did. Each round it draws random
 * bytes, reads the clocks, says all of it in a line, and waits: so long, or, if
 * told so, until the wall clock has gone on by so much. A monotonic clock that
 * goes back ends it. */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wasi/api.h>

enum { EXIT_STREAM = 1, EXIT_USAGE = 2, EXIT_CLOCK = 3, EXIT_RANDOM = 4 };

/* Readings of the monotonic clock in a round: most of a round of no interval. */
enum { READINGS = 1000 };

enum { MAX_INTERVAL_MS = 24 * 60 * 60 * 1000, LEAST_BYTES = 16, MOST_BYTES = 4 << 20 };

static int parse_number(const char *what, const char *text, unsigned long min, unsigned long max,
                        unsigned long *value)
{
    char *end;
    errno = 0;
    unsigned long parsed = strtoul(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || parsed < min || parsed > max) {
        fprintf(stderr, "witness: %s %s: not a number from %lu to %lu\n", what, text, min, max);
        return 0;
    }
    *value = parsed;
    return 1;
}

enum { NS_A_SECOND = 1000000000 };

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        perror("witness: clock_gettime");
        exit(EXIT_CLOCK);
    }
    return (uint64_t)now.tv_sec * NS_A_SECOND + (uint64_t)now.tv_nsec;
}

/* The clock's reading after many, none of which may be earlier than the one before. */
static uint64_t read_monotonic(uint64_t last)
{
    for (int reading = 0; reading < READINGS; reading++) {
        uint64_t now = read_clock(CLOCK_MONOTONIC);
        if (now < last) {
            fprintf(stderr, "witness: the monotonic clock went back by %llu ns\n",
                    (unsigned long long)(last - now));
            exit(EXIT_CLOCK);
        }
        last = now;
    }
    return last;
}

/* Draws in one call, and gives the last bytes of what was drawn. */
static uint64_t draw(unsigned char *bytes, size_t len)
{
    if (__wasi_random_get(bytes, len) != __WASI_ERRNO_SUCCESS) {
        fputs("witness: no random numbers\n", stderr);
        exit(EXIT_RANDOM);
    }
    uint64_t value = 0;
    for (size_t at = len - sizeof value; at < len; at++)
        value = value << 8 | bytes[at];
    return value;
}

/* Waits; until a time of the wall clock if `until_wall`. */
static void wait_for(uint64_t interval_ns, int until_wall, uint64_t wall)
{
    uint64_t time = until_wall ? wall + interval_ns : interval_ns;
    struct timespec wait = { .tv_sec = (time_t)(time / NS_A_SECOND), .tv_nsec = (long)(time % NS_A_SECOND) };
    int failed = clock_nanosleep(until_wall ? CLOCK_REALTIME : CLOCK_MONOTONIC,
                                 until_wall ? TIMER_ABSTIME : 0, &wait, NULL);
    if (failed != 0) {
        fprintf(stderr, "witness: clock_nanosleep: %s\n", strerror(failed));
        exit(EXIT_CLOCK);
    }
}

int main(int argc, char **argv)
{
    unsigned long interval_ms, rounds, len = LEAST_BYTES;
    int until_wall = argc == 5 && strcmp(argv[4], "wall") == 0;
    if (argc < 3 || argc > 5 || (argc == 5 && !until_wall) ||
        !parse_number("INTERVAL_MS", argv[1], 0, MAX_INTERVAL_MS, &interval_ms) ||
        !parse_number("ROUNDS", argv[2], 0, UINT32_MAX, &rounds) ||
        (argc >= 4 && !parse_number("BYTES", argv[3], LEAST_BYTES, MOST_BYTES, &len))) {
        fputs("usage: witness INTERVAL_MS ROUNDS [BYTES [wall]] (0 rounds: without end)\n", stderr);
        return EXIT_USAGE;
    }

    unsigned char *bytes = malloc(len);
    if (bytes == NULL) {
        fprintf(stderr, "witness: no memory for %lu bytes\n", len);
        return EXIT_RANDOM;
    }
    uint64_t nonce = draw(bytes, len);
    uint64_t monotonic = 0;
    for (unsigned long round = 1;; round++) {
        uint64_t random = draw(bytes, len);
        monotonic = read_monotonic(monotonic);
        uint64_t wall = read_clock(CLOCK_REALTIME);
        if (printf("%lu %016llx %llu %llu %016llx\n", round, (unsigned long long)nonce,
                   (unsigned long long)wall, (unsigned long long)monotonic, (unsigned long long)random) < 0 ||
            fflush(stdout) != 0) {
            perror("witness: standard output");
            return EXIT_STREAM;
        }
        if (round == rounds)
            return 0;
        if (interval_ms > 0)
            wait_for((uint64_t)interval_ms * 1000000u, until_wall, wall);
    }
}
