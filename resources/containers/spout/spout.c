/* spout: writes a known pattern to standard output as fast as it can, to measure a stream's throughput.
 *
 *   spout MIB [BLOCK]      MIB mebibytes in writes of BLOCK bytes (65536 unless told)
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_OUTPUT = 1, DEFAULT_BLOCK = 65536, MAX_BLOCK = 1 << 20, MAX_MIB = 1 << 20 };

static long number(const char *text, long max)
{
    char *end;
    long value = strtol(text, &end, 10);
    return end != text && *end == '\0' && value > 0 && value <= max ? value : -1;
}

int main(int argc, char **argv)
{
    long mib = argc > 1 ? number(argv[1], MAX_MIB) : -1;
    long block = argc > 2 ? number(argv[2], MAX_BLOCK) : DEFAULT_BLOCK;
    if (mib < 0 || block < 0 || argc > 3) {
        fputs("usage: spout MIB [BLOCK]\n", stderr);
        return EXIT_USAGE;
    }
    char *bytes = malloc((size_t)block);
    if (bytes == NULL) {
        fputs("spout: no memory for a block\n", stderr);
        return EXIT_OUTPUT;
    }
    for (long i = 0; i < block; i++)
        bytes[i] = (char)('a' + i % 23);
    long long left = (long long)mib << 20;
    while (left > 0) {
        size_t want = left < block ? (size_t)left : (size_t)block;
        ssize_t written = write(STDOUT_FILENO, bytes, want);
        if (written <= 0) {
            perror("spout");
            return EXIT_OUTPUT;
        }
        left -= written;
    }
    free(bytes);
    return 0;
}
