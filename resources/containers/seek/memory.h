#ifndef SEEK_MEMORY_H
#define SEEK_MEMORY_H

#include <stddef.h>

/* Like reallocarray(3), but never NULL: without memory there is nothing left to
 * do but to say so and end with exit code 2. */
void *allocate(void *old, size_t count, size_t size);

#endif
