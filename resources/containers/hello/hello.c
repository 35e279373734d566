/* hello: the smallest container that still shows all a container is given:
 * its arguments, its environment, its standard output and its exit code. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

/* Shells keep 126 and up for commands that could not run or were killed, and
 * wasmtime refuses to pass them on from a guest. */
enum { MAX_EXIT_CODE = 125 };

static int parse_exit_code(const char *text, int *code)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 0 || value > MAX_EXIT_CODE)
        return 0;
    *code = (int)value;
    return 1;
}

int main(int argc, char **argv)
{
    int exit_code = 0;
    int first = 1;

    if (first < argc && strcmp(argv[first], "--exit") == 0) {
        if (first + 1 >= argc) {
            fprintf(stderr, "hello: --exit needs a number from 0 to %d\n", MAX_EXIT_CODE);
            return EXIT_USAGE;
        }
        if (!parse_exit_code(argv[first + 1], &exit_code)) {
            fprintf(stderr, "hello: --exit %s: not a number from 0 to %d\n", argv[first + 1],
                    MAX_EXIT_CODE);
            return EXIT_USAGE;
        }
        first += 2;
    }

    const char *greeting = getenv("GREETING");
    printf("%s, SentientOS!\n", greeting != NULL ? greeting : "Hello");
    for (int i = first; i < argc; i++)
        printf("argument %d: %s\n", i - first + 1, argv[i]);

    /* Output that could not be delivered is a failure, whatever was asked. */
    if (fflush(stdout) != 0) {
        perror("hello: standard output");
        return 1;
    }
    return exit_code;
}
