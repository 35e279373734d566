#include "memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "error.h"

enum { CHUNK_BYTES = 64 * 1024, ALIGNMENT = _Alignof(max_align_t) };

struct arena_chunk {
    struct arena_chunk *older;
    size_t used;
    size_t size;
    _Alignas(max_align_t) unsigned char bytes[];
};

static _Noreturn void out_of_memory(void)
{
    /* Nothing of an open transaction has reached the database for good: what
     * has is undone from the journal when it is opened next. */
    fputs("minidb: out of memory\n", stderr);
    exit(ERROR_IO);
}

void *allocate(void *old, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        out_of_memory();
    void *memory = realloc(old, count * size == 0 ? 1 : count * size);
    if (memory == NULL)
        out_of_memory();
    return memory;
}

void *arena_allocate(struct arena *arena, size_t count, size_t size)
{
    if (size != 0 && count > (SIZE_MAX - sizeof(struct arena_chunk) - ALIGNMENT) / size)
        out_of_memory();
    size_t bytes = (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct arena_chunk *chunk = arena->newest;
    if (chunk == NULL || chunk->size - chunk->used < bytes) {
        size_t room = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        chunk = allocate(NULL, 1, sizeof *chunk + room);
        chunk->used = 0;
        chunk->size = room;
        chunk->older = arena->newest;
        arena->newest = chunk;
    }
    void *memory = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return memory;
}

void arena_reset(struct arena *arena)
{
    /* One chunk stays for the next statement or row. */
    while (arena->newest != NULL && arena->newest->older != NULL) {
        struct arena_chunk *older = arena->newest->older;
        free(arena->newest);
        arena->newest = older;
    }
    if (arena->newest != NULL)
        arena->newest->used = 0;
}
