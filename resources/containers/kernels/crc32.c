/* CRC-32 (IEEE 802.3, reflected), one table look-up a byte: each load's address
 * depends on the load before. */

#include "kernels.h"

#define POLYNOMIAL 0xedb88320u

enum { BUFFER_BYTES = 1024 };

static uint32_t table[256];
static unsigned char buffer[BUFFER_BYTES];

static void fill_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t remainder = byte;
        for (int bit = 0; bit < 8; bit++)
            remainder = remainder & 1 ? remainder >> 1 ^ POLYNOMIAL : remainder >> 1;
        table[byte] = remainder;
    }
}

long long crc32(int n)
{
    fill_table();
    uint32_t random = 521288629;
    for (int i = 0; i < BUFFER_BYTES; i++)
        buffer[i] = (unsigned char)next_random(&random);

    uint32_t crc = 0xffffffff;
    for (int kib = 0; kib < n; kib++) {
        for (int i = 0; i < BUFFER_BYTES; i++)
            crc = crc >> 8 ^ table[(crc ^ buffer[i]) & 0xff];
    }
    return (long long)(crc ^ 0xffffffff);
}
