/* CRC-32 as in IEEE 802.3, gzip and PNG. */

#ifndef PRESS_CRC32_H
#define PRESS_CRC32_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32_of(const uint8_t *bytes, size_t count);

#endif
