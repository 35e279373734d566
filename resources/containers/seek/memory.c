#include "memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

void *allocate(void *old, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        fputs("seek: out of memory\n", stderr);
        exit(2);
    }
    /* realloc of 0 bytes may give NULL, or memory back. */
    void *memory = realloc(old, count * size == 0 ? 1 : count * size);
    if (memory == NULL) {
        fputs("seek: out of memory\n", stderr);
        exit(2);
    }
    return memory;
}
