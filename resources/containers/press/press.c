/* press: compresses standard input to standard output, and back.
 *
 * Works block by block with a few megabytes of memory that are all there from
 * the start, so that neither the size of the input nor what a corrupt input
 * claims can make it ask for more. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "block.h"
#include "crc32.h"
#include "format.h"
#include "match.h"

enum { EXIT_OK = 0, EXIT_CORRUPT = 1, EXIT_USAGE = 2, EXIT_IO = 3 };

enum mode { COMPRESS, DECOMPRESS, TEST };

struct options {
    enum mode mode;
    int level;
};

static uint8_t raw[BLOCK_RAW_BYTES];
static uint8_t payload[BLOCK_RAW_BYTES];

/* ---- input and output ----------------------------------------------------- */

static int fail(int exit_code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout); /* what was decompressed before the error is good */
    fputs("press: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return exit_code;
}

static int fail_output(void)
{
    return fail(EXIT_IO, "standard output: %s", strerror(errno));
}

static bool put(const void *bytes, size_t count)
{
    return fwrite(bytes, 1, count, stdout) == count;
}

static void store(uint8_t *bytes, uint64_t value, int count)
{
    for (int i = 0; i < count; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t load(const uint8_t *bytes, int count)
{
    uint64_t value = 0;
    for (int i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

/* ---- compressing ---------------------------------------------------------- */

static bool put_block(size_t count, int level)
{
    uint8_t header[1 + BLOCK_HEADER_BYTES];
    /* Coded bytes that are not fewer are no use. */
    size_t coded = block_encode(raw, count, level, payload, count - 1);
    size_t payload_bytes = coded == 0 ? count : coded;
    header[0] = coded == 0 ? BLOCK_STORED : BLOCK_CODED;
    store(header + 1, count, 4);
    store(header + 5, payload_bytes, 4);
    store(header + 9, crc32_of(raw, count), 4);
    return put(header, sizeof header) && put(coded == 0 ? raw : payload, payload_bytes);
}

static int compress(int level)
{
    uint64_t total = 0;
    uint8_t end[1 + END_BYTES] = { BLOCK_END };
    if (!put(MAGIC, MAGIC_BYTES))
        return fail_output();
    for (;;) {
        size_t count = fread(raw, 1, sizeof raw, stdin);
        if (count > 0 && !put_block(count, level))
            return fail_output();
        total += count;
        if (count < sizeof raw)
            break;
    }
    if (ferror(stdin))
        return fail(EXIT_IO, "standard input: %s", strerror(errno));
    store(end + 1, total, END_BYTES);
    if (!put(end, sizeof end) || fflush(stdout) != 0)
        return fail_output();
    return EXIT_OK;
}

/* ---- decompressing -------------------------------------------------------- */

static int fail_input(const char *where)
{
    if (ferror(stdin))
        return fail(EXIT_IO, "standard input: %s", strerror(errno));
    return fail(EXIT_CORRUPT, "corrupt input: it ends in %s", where);
}

static bool get(void *bytes, size_t count)
{
    return fread(bytes, 1, count, stdin) == count;
}

/* Reads and checks the block after its kind; its raw bytes are then in `raw`. */
static int get_block(enum block_kind kind, uint64_t number, size_t *count)
{
    unsigned long long block = number; /* in messages, from 1 */
    uint8_t header[BLOCK_HEADER_BYTES];
    if (!get(header, sizeof header))
        return fail_input("the header of a block");
    uint32_t raw_bytes = (uint32_t)load(header, 4);
    uint32_t payload_bytes = (uint32_t)load(header + 4, 4);
    uint32_t crc = (uint32_t)load(header + 8, 4);
    bool sizes_fit = raw_bytes > 0 && raw_bytes <= BLOCK_RAW_BYTES &&
                     (kind == BLOCK_STORED ? payload_bytes == raw_bytes
                                           : payload_bytes > 0 && payload_bytes < raw_bytes);
    if (!sizes_fit)
        return fail(EXIT_CORRUPT, "corrupt input: block %llu: impossible sizes %lu and %lu", block,
                    (unsigned long)raw_bytes, (unsigned long)payload_bytes);
    if (!get(kind == BLOCK_STORED ? raw : payload, payload_bytes))
        return fail_input("a block");
    if (kind == BLOCK_CODED) {
        const char *error = block_decode(payload, payload_bytes, raw, raw_bytes);
        if (error != NULL)
            return fail(EXIT_CORRUPT, "corrupt input: block %llu: %s", block, error);
    }
    if (crc32_of(raw, raw_bytes) != crc)
        return fail(EXIT_CORRUPT, "corrupt input: block %llu: wrong checksum", block);
    *count = raw_bytes;
    return EXIT_OK;
}

static int get_end(uint64_t total)
{
    uint8_t end[END_BYTES];
    if (!get(end, sizeof end))
        return fail_input("its last few bytes");
    if (load(end, END_BYTES) != total)
        return fail(EXIT_CORRUPT, "corrupt input: blocks are missing or repeated");
    if (fgetc(stdin) != EOF)
        return fail(EXIT_CORRUPT, "corrupt input: bytes after the end");
    return EXIT_OK;
}

static int decompress(bool write)
{
    char magic[MAGIC_BYTES];
    if (!get(magic, sizeof magic))
        return fail_input("its first few bytes");
    if (memcmp(magic, MAGIC, sizeof magic) != 0)
        return fail(EXIT_CORRUPT, "the input was not compressed by press");

    uint64_t total = 0;
    for (uint64_t number = 1;; number++) {
        size_t count;
        int kind = fgetc(stdin);
        if (kind == EOF)
            return fail_input("the middle: its end mark is missing");
        if (kind == BLOCK_END)
            break;
        if (kind != BLOCK_STORED && kind != BLOCK_CODED)
            return fail(EXIT_CORRUPT, "corrupt input: block %llu: unknown kind %d",
                        (unsigned long long)number, kind);
        int exit_code = get_block((enum block_kind)kind, number, &count);
        if (exit_code != EXIT_OK)
            return exit_code;
        total += count;
        if (write && !put(raw, count))
            return fail_output();
    }
    int exit_code = get_end(total);
    if (fflush(stdout) != 0)
        return fail_output();
    return exit_code;
}

/* ---- options -------------------------------------------------------------- */

static int usage(void)
{
    fputs("usage: press [-c | -d | -t] [-1 ... -9]\n"
          "  -c        compress standard input to standard output (default)\n"
          "  -d        decompress\n"
          "  -t        test: decompress without output\n"
          "  -1 to -9  fastest to smallest (default -6)\n",
          stderr);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct options options = { .mode = COMPRESS, .level = 6 };
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        char letter = option[0] == '-' && option[1] != '\0' && option[2] == '\0' ? option[1] : 0;
        if (letter == 'c' || letter == 'd' || letter == 't') {
            options.mode = letter == 'c' ? COMPRESS : letter == 'd' ? DECOMPRESS : TEST;
        } else if (letter >= '0' + MIN_LEVEL && letter <= '0' + MAX_LEVEL) {
            options.level = letter - '0';
        } else {
            fprintf(stderr, "press: unknown option %s\n", option);
            return usage();
        }
    }
    return options.mode == COMPRESS ? compress(options.level)
                                    : decompress(options.mode == DECOMPRESS);
}
