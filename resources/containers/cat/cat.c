/* cat: copies standard input to standard output, byte for byte.
 *
 * The container to test streams with: it takes as much as it is given, keeps
 * nothing back, and ends when its input does. It takes no arguments. */

#include <stdio.h>
#include <unistd.h>

enum { EXIT_STREAM = 1, EXIT_USAGE = 2, BLOCK = 32768 };

static char block[BLOCK];

/* All of it: a stream may take less at once than it is offered. */
static int write_all(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, len);
        if (written < 0) {
            perror("cat: standard output");
            return 0;
        }
        bytes += written;
        len -= (size_t)written;
    }
    return 1;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        fputs("usage: cat < INPUT\n", stderr);
        return EXIT_USAGE;
    }
    for (;;) {
        ssize_t len = read(STDIN_FILENO, block, sizeof block);
        if (len == 0)
            return 0;
        if (len < 0) {
            perror("cat: standard input");
            return EXIT_STREAM;
        }
        if (!write_all(block, (size_t)len))
            return EXIT_STREAM;
    }
}
