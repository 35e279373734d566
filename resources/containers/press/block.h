/* One block of raw bytes, coded and decoded. */

#ifndef PRESS_BLOCK_H
#define PRESS_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Codes `count` raw bytes into at most `room` bytes and returns how many it
 * took; 0 if they do not fit, which is how data that does not compress shows. */
size_t block_encode(const uint8_t *raw, size_t count, int level, uint8_t *coded, size_t room);

/* Decodes exactly `count` raw bytes. NULL if that went well, else what is wrong
 * with the coded bytes. Reads and writes within the bounds whatever they are. */
const char *block_decode(const uint8_t *coded, size_t coded_count, uint8_t *raw, size_t count);

#endif
