#include "arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "exit_codes.h"

enum { CHUNK_BYTES = 256 * 1024, ALIGNMENT = _Alignof(max_align_t) };

struct arena_chunk {
    struct arena_chunk *older;
    size_t used;
    size_t size;
    _Alignas(max_align_t) unsigned char bytes[];
};

_Noreturn void out_of_memory(void)
{
    fputs("jsonq: out of memory\n", stderr);
    exit(EXIT_DATA);
}

static struct arena_chunk *add_chunk(struct arena *arena, size_t bytes)
{
    size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
    if (size > SIZE_MAX - sizeof(struct arena_chunk))
        out_of_memory();
    struct arena_chunk *chunk = malloc(sizeof *chunk + size);
    if (chunk == NULL)
        out_of_memory();
    chunk->used = 0;
    chunk->size = size;
    chunk->older = arena->newest;
    arena->newest = chunk;
    return chunk;
}

void *arena_allocate(struct arena *arena, size_t count, size_t size)
{
    if (size != 0 && count > (SIZE_MAX - ALIGNMENT) / size)
        out_of_memory();
    size_t bytes = (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct arena_chunk *chunk = arena->newest;
    if (chunk == NULL || chunk->size - chunk->used < bytes)
        chunk = add_chunk(arena, bytes);
    void *memory = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return memory;
}

void arena_reset(struct arena *arena)
{
    /* One chunk stays: most inputs are small and the next one needs it again. */
    while (arena->newest != NULL && arena->newest->older != NULL) {
        struct arena_chunk *older = arena->newest->older;
        free(arena->newest);
        arena->newest = older;
    }
    if (arena->newest != NULL)
        arena->newest->used = 0;
}
