#include "crc32.h"

#include <stdbool.h>

#define POLYNOMIAL 0xedb88320u /* reflected */

/* Four bytes a step ("slicing by four"): tables[k][b] is the CRC of the byte b
 * followed by k zero bytes. */
static uint32_t tables[4][256];
static bool tables_filled;

static void fill_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        tables[0][byte] = crc;
    }
    for (int k = 1; k < 4; k++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t shorter = tables[k - 1][byte];
            tables[k][byte] = shorter >> 8 ^ tables[0][shorter & 0xff];
        }
    }
    tables_filled = true;
}

uint32_t crc32_of(const uint8_t *bytes, size_t count)
{
    if (!tables_filled)
        fill_tables();
    uint32_t crc = 0xffffffff;
    for (; count >= 4; count -= 4, bytes += 4) {
        crc ^= (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
               (uint32_t)bytes[3] << 24;
        crc = tables[3][crc & 0xff] ^ tables[2][crc >> 8 & 0xff] ^ tables[1][crc >> 16 & 0xff] ^
              tables[0][crc >> 24];
    }
    for (; count > 0; count--, bytes++)
        crc = crc >> 8 ^ tables[0][(crc ^ *bytes) & 0xff];
    return crc ^ 0xffffffff;
}
