/* Memory that is given back all at once.
 *
 * Values are immutable and share their parts freely, so nobody owns one alone.
 * They live in an arena that is emptied after each input; nothing is freed one
 * by one, and nothing can be freed too early. */

#ifndef JSONQ_ARENA_H
#define JSONQ_ARENA_H

#include <stddef.h>

struct arena {
    struct arena_chunk *newest;
};

/* `count` items of `size` bytes each, aligned for any of our types and not
 * initialised. Never NULL: without memory the program ends, as no filter could
 * do anything useful about it. */
void *arena_allocate(struct arena *arena, size_t count, size_t size);

/* Makes all memory of the arena available again. */
void arena_reset(struct arena *arena);

/* Ends the program with a message and EXIT_DATA. */
_Noreturn void out_of_memory(void);

#endif
