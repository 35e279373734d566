/* fscheck: exercises the file system it runs on and checks every answer.
 *
 * Prints one line per check and ends with exit code 1 if any failed. What is
 * checked is what POSIX says and what programs rely on; where implementations
 * may differ, each of the allowed answers passes. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

enum { EXIT_USAGE = 2 };

static const char default_directory[] = "/fscheck.tmp";

static const struct {
    const char *name;
    void (*run)(void);
} groups[] = {
    { "files", check_files },
    { "offsets", check_offsets },
    { "directories", check_directories },
    { "names", check_names },
    { "errors", check_errors },
};

enum { GROUPS = sizeof groups / sizeof groups[0] };

static int usage(void)
{
    fputs("usage: fscheck [--in DIRECTORY] [files | offsets | directories | names | errors]...\n",
          stderr);
    return EXIT_USAGE;
}

static int find_group(const char *name)
{
    for (int i = 0; i < GROUPS; i++) {
        if (strcmp(groups[i].name, name) == 0)
            return i;
    }
    return -1;
}

int main(int argc, char **argv)
{
    const char *directory = default_directory;
    int first = 1;
    if (first < argc && strcmp(argv[first], "--in") == 0) {
        if (first + 1 >= argc)
            return usage();
        directory = argv[first + 1];
        first += 2;
    }
    for (int i = first; i < argc; i++) {
        if (find_group(argv[i]) == -1) {
            fprintf(stderr, "fscheck: no group of checks is called %s\n", argv[i]);
            return usage();
        }
    }

    /* A directory of its own, which must be new: the checks create and remove
     * names freely and must not meet anybody's files. */
    if (mkdir(directory, 0755) == -1 || chdir(directory) == -1) {
        fprintf(stderr, "fscheck: %s: %s\n", directory, strerror(errno));
        return EXIT_USAGE;
    }
    for (int i = 0; i < GROUPS; i++) {
        bool wanted = first == argc;
        for (int named = first; named < argc; named++)
            wanted = wanted || find_group(argv[named]) == i;
        if (wanted)
            groups[i].run();
    }

    check_group("end");
    check(chdir("/") == 0 && rmdir(directory) == 0, "every file made was removed");
    return check_summary() ? 0 : 1;
}
