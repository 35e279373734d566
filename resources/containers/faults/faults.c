/* faults: every way a program may go wrong, on demand.
 *
 * A runtime is judged by what it says about programs that fail. Each command
 * below fails in exactly one way, from the bottom of the same chain of calls
 * (level_one -> level_two -> level_three), so that a test can look for those
 * names in the backtrace. This program is linked without -s for their sake. */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    EXIT_USAGE = 2,
    MAX_EXIT_CODE = 125, /* wasmtime passes on no higher one */
    MAX_GROW_MIB = 4096, /* all a 32-bit memory can hold */
};

/* Keeps a function a frame of its own: not inlined, cloned or renamed. */
#define FRAME __attribute__((noinline, used))

/* An empty asm the optimiser cannot see through. After a call it keeps the
 * call from becoming a jump, which would drop the caller's frame. */
#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

#define MEBIBYTE ((size_t)1024 * 1024)
#define HOST_PAGE ((size_t)4096) /* the unit in which a host gives out memory */

/* ---- traps ---------------------------------------------------------------- */

static void fault_trap(void)
{
    __builtin_trap();
}

static void fault_oob(void)
{
    /* The last word of the 4 GiB address space: no memory with a limit below
     * 4 GiB reaches it. Volatile, or the load would be dropped as unused. */
    volatile uint32_t *beyond = (volatile uint32_t *)(uintptr_t)0xfffffff0u;
    printf("read %u\n", (unsigned)*beyond);
}

static void fault_div0(void)
{
    /* Undefined in C, a trap in WebAssembly; volatile leaves it to the latter. */
    volatile int numerator = 1;
    volatile int denominator = 0;
    printf("divided %d\n", numerator / denominator);
}

/* Uses the engine's call stack only: no local has its address taken, so the
 * stack in linear memory stays as it is and the call depth is what runs out. */
FRAME static uint64_t recurse(uint64_t depth)
{
    if (depth == UINT64_MAX) /* never; it keeps the recursion from being endless to the compiler */
        return 0;
    uint64_t deeper = recurse(depth + 1);
    KEEP_FRAME();
    return deeper + depth;
}

static void fault_overflow(void)
{
    printf("recursed %llu\n", (unsigned long long)recurse(0));
}

/* Uses the stack in linear memory, 4 KiB a call. It lies below all data, so
 * running out of it is an access below address 0: out of bounds. */
FRAME static uint64_t recurse_with_locals(uint64_t depth)
{
    volatile unsigned char local[4096];
    if (depth == UINT64_MAX)
        return 0;
    local[depth % sizeof local] = (unsigned char)depth;
    uint64_t deeper = recurse_with_locals(depth + 1);
    KEEP_FRAME();
    return deeper + local[depth % sizeof local];
}

static void fault_stack(void)
{
    printf("recursed %llu\n", (unsigned long long)recurse_with_locals(0));
}

static void fault_null(void)
{
    void (*volatile nothing)(void) = NULL;
    nothing();
}

FRAME static int takes_one(int value)
{
    return value + 1;
}

static void fault_signature(void)
{
    /* Undefined in C; WebAssembly checks the type at the call. */
    int (*volatile takes_one_pointer)(int) = takes_one;
    int (*volatile takes_two)(int, int) = (int (*)(int, int))(void *)takes_one_pointer;
    printf("called %d\n", takes_two(1, 2));
}

static void fault_abort(void)
{
    abort();
}

/* ---- never ending --------------------------------------------------------- */

static void fault_loop(void)
{
    for (;;)
        KEEP_FRAME();
}

static void fault_sleep(void)
{
    /* Blocked in the host rather than computing: a kill has to reach it there. */
    struct timespec day = { .tv_sec = 24 * 60 * 60 };
    for (;;)
        nanosleep(&day, NULL);
}

/* ---- the chain of calls --------------------------------------------------- */

typedef void (*fault)(void);

FRAME void level_three(fault fault)
{
    fault();
    KEEP_FRAME();
}

FRAME void level_two(fault fault)
{
    level_three(fault);
    KEEP_FRAME();
}

FRAME void level_one(fault fault)
{
    level_two(fault);
    KEEP_FRAME();
}

static const struct {
    const char *name;
    fault fault;
} faults[] = {
    { "trap", fault_trap },         { "oob", fault_oob },   { "div0", fault_div0 },
    { "overflow", fault_overflow }, { "stack", fault_stack }, { "null", fault_null },
    { "signature", fault_signature }, { "abort", fault_abort }, { "loop", fault_loop },
    { "sleep", fault_sleep },
};

/* ---- faults with an argument ---------------------------------------------- */

/* Allocates 1 MiB at a time and writes to every page of it, so that a quota on
 * memory in use is hit as surely as one on memory asked for. Being refused is
 * what a well-written program survives, so it ends with exit code 0. */
static int grow(unsigned limit_mib)
{
    unsigned held_mib = 0;
    while (held_mib < limit_mib) {
        unsigned char *block = malloc(MEBIBYTE);
        if (block == NULL) {
            printf("refused after %u MiB\n", held_mib);
            return 0;
        }
        for (size_t at = 0; at < MEBIBYTE; at += HOST_PAGE)
            *(volatile unsigned char *)(block + at) = 1;
        held_mib++;
    }
    printf("granted %u MiB\n", held_mib);
    return 0;
}

static int usage(void)
{
    fputs("usage: faults COMMAND\n"
          "  trap | oob | div0 | overflow | stack | null | signature | abort   trap\n"
          "  loop | sleep      never end, computing or blocked\n"
          "  grow [MIB]        allocate until refused, or until MIB are held\n"
          "  exit N            end with exit code N (0 to 125)\n"
          "  stderr TEXT       write TEXT to standard error, exit code 1\n",
          stderr);
    return EXIT_USAGE;
}

static int parse_up_to(const char *text, unsigned long max, unsigned *value)
{
    char *end;
    errno = 0;
    unsigned long parsed = strtoul(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || parsed > max)
        return 0;
    *value = (unsigned)parsed;
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage();

    /* Shown even when the fault stops the program before stdio is flushed. */
    setvbuf(stdout, NULL, _IONBF, 0);

    unsigned number;
    if (argc == 2) {
        for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
            if (strcmp(argv[1], faults[i].name) == 0) {
                printf("about to %s\n", argv[1]);
                level_one(faults[i].fault);
                puts("still here");
                return 1;
            }
        }
        if (strcmp(argv[1], "grow") == 0)
            return grow(MAX_GROW_MIB);
    } else if (argc == 3) {
        if (strcmp(argv[1], "grow") == 0 && parse_up_to(argv[2], MAX_GROW_MIB, &number))
            return grow(number);
        if (strcmp(argv[1], "exit") == 0 && parse_up_to(argv[2], MAX_EXIT_CODE, &number))
            return (int)number;
        if (strcmp(argv[1], "stderr") == 0) {
            fprintf(stderr, "%s\n", argv[2]);
            return 1;
        }
    }
    return usage();
}
