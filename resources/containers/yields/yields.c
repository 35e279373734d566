/* yields: gives the processor back, again and again, for a time; to measure
 * what a switch from one container to another costs. */

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { EXIT_USAGE = 2, BETWEEN_LOOKS = 64 };

#define MAX_MS (60u * 60u * 1000u)

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    errno = 0;
    unsigned long long ms = argc == 2 ? strtoull(argv[1], &end, 10) : 0;
    if (argc != 2 || errno != 0 || *argv[1] < '0' || *argv[1] > '9' || *end != '\0' || ms > MAX_MS) {
        fputs("usage: yields MILLISECONDS\n", stderr);
        return EXIT_USAGE;
    }
    uint64_t count = 0, start = now_ns(), passed;
    do {
        for (int i = 0; i < BETWEEN_LOOKS; i++)
            sched_yield();
        count += BETWEEN_LOOKS;
        passed = now_ns() - start;
    } while (passed < (uint64_t)ms * 1000000u);
    printf("%llu yields in %llu ns\n", (unsigned long long)count, (unsigned long long)passed);
}
