/* Memory: what lives long is allocated one by one, what a statement needs comes
 * from an arena that is emptied after it. Without memory the program ends. */

#ifndef MINIDB_MEMORY_H
#define MINIDB_MEMORY_H

#include <stddef.h>

/* Like reallocarray(3), but never NULL. */
void *allocate(void *old, size_t count, size_t size);

struct arena {
    struct arena_chunk *newest;
};

/* `count` items of `size` bytes, aligned for any type, not initialised. */
void *arena_allocate(struct arena *arena, size_t count, size_t size);

/* Makes all memory of the arena available again. */
void arena_reset(struct arena *arena);

#endif
