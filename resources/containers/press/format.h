/* The container format. All numbers are little-endian.
 *
 *   stream   = "SOSP" 0x01 block* end
 *   block    = kind:u8 raw_bytes:u32 payload_bytes:u32 crc32:u32 payload
 *   end      = 0x00 total_raw_bytes:u64
 *
 * kind is 1 (payload is the raw bytes) or 2 (payload is coded, see block.c).
 * crc32 is that of the raw bytes. A block holds 1 to 256 KiB of raw bytes and
 * refers to nothing outside itself. A coded payload is shorter than the raw
 * bytes. Nothing follows the end. */

#ifndef PRESS_FORMAT_H
#define PRESS_FORMAT_H

enum {
    MAGIC_BYTES = 5,
    BLOCK_RAW_BYTES = 256 * 1024,
    BLOCK_HEADER_BYTES = 12, /* after the kind */
    END_BYTES = 8,           /* after the kind */
};

#define MAGIC "SOSP\x01"

enum block_kind { BLOCK_END = 0, BLOCK_STORED = 1, BLOCK_CODED = 2 };

#endif
