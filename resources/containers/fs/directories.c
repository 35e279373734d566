/* Making, listing and removing directories. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

/* More entries than fit in the buffer wasi-libc reads a directory with, so that
 * the listing has to be continued from a cookie. */
enum { MANY = 200 };

static void name_of(char *name, size_t size, int number)
{
    snprintf(name, size, "many/a-name-that-takes-some-room-%03d", number);
}

static void making(void)
{
    struct stat status;
    check_success(mkdir("outer", 0755), "mkdir");
    check_fails(mkdir("outer", 0755), EEXIST, "mkdir refuses a directory that exists");
    check_fails(mkdir("absent/inner", 0755), ENOENT, "mkdir needs its parent");
    check_success(mkdir("outer/inner", 0755), "mkdir in a directory");
    check_success(stat("outer/inner", &status), "stat of a directory");
    check(S_ISDIR(status.st_mode), "a directory is a directory");
    check_success(stat("outer/inner/../inner/.", &status), "a path through . and ..");
    check_fails(rmdir("outer"), ENOTEMPTY, "rmdir refuses a directory with a directory in it");
    check_success(rmdir("outer/inner"), "rmdir");
    if (prepare_file("outer/file", "x")) {
        check_fails(rmdir("outer"), ENOTEMPTY, "rmdir refuses a directory with a file in it");
        check_success(unlink("outer/file"), "unlink in a directory");
    }
    check_success(rmdir("outer"), "rmdir once it is empty");
    check_fails(stat("outer", &status), ENOENT, "then it is gone");
    check_fails(rmdir("outer"), ENOENT, "and rmdir finds nothing");
}

/* Lists `many` and notes how often each of its files was seen. */
static bool count_entries(DIR *directory, unsigned char seen[MANY], int *others)
{
    memset(seen, 0, MANY);
    *others = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (entry == NULL)
            return errno == 0;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int number;
        char expected[64];
        if (sscanf(entry->d_name, "a-name-that-takes-some-room-%d", &number) == 1 && number >= 0 &&
            number < MANY) {
            name_of(expected, sizeof expected, number);
            if (strcmp(expected + strlen("many/"), entry->d_name) == 0) {
                seen[number]++;
                continue;
            }
        }
        (*others)++;
    }
}

static bool each_once(const unsigned char seen[MANY], int except)
{
    for (int i = 0; i < MANY; i++) {
        if (seen[i] != (i == except ? 0 : 1))
            return false;
    }
    return true;
}

static void listing(void)
{
    unsigned char seen[MANY];
    char name[64];
    int others;

    mkdir("many", 0755);
    for (int i = 0; i < MANY; i++) {
        name_of(name, sizeof name, i);
        if (!prepare_file(name, ""))
            return;
    }
    DIR *directory = opendir("many");
    if (!check(directory != NULL, "opendir"))
        return;
    check(count_entries(directory, seen, &others), "readdir reaches the end");
    check(each_once(seen, -1), "readdir returns each of 200 files once");
    check_equal(others, 0, "and nothing else");

    name_of(name, sizeof name, 7);
    unlink(name);
    rewinddir(directory);
    check(count_entries(directory, seen, &others), "readdir after rewinddir");
    check(each_once(seen, 7), "no longer returns a file that was unlinked");
    check_success(closedir(directory), "closedir");

    for (int i = 0; i < MANY; i++) {
        name_of(name, sizeof name, i);
        unlink(name);
    }
    check_success(rmdir("many"), "rmdir after the last file went");
}

static void entry_types(void)
{
    mkdir("kinds", 0755);
    mkdir("kinds/directory", 0755);
    if (!prepare_file("kinds/file", "x"))
        return;
    int types = 0;
    DIR *directory = opendir("kinds");
    for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, "file") == 0)
            types += entry->d_type == DT_REG;
        else if (strcmp(entry->d_name, "directory") == 0)
            types += entry->d_type == DT_DIR;
    }
    if (directory != NULL)
        closedir(directory);
    check_equal(types, 2, "readdir tells files from directories");
    unlink("kinds/file");
    rmdir("kinds/directory");
    rmdir("kinds");
}

static void relative_to_descriptor(void)
{
    mkdir("base", 0755);
    int base = open("base", O_RDONLY | O_DIRECTORY);
    check_success(base, "O_DIRECTORY opens a directory");
    int fd = openat(base, "below", O_WRONLY | O_CREAT, 0644);
    check_success(fd, "openat creates relative to it");
    write(fd, "here", 4);
    close(fd);
    check_content("base/below", "here", 4, "the file is found by its path");
    check_success(unlinkat(base, "below", 0), "unlinkat");
    close(base);
    check_success(rmdir("base"), "rmdir of it");
}

void check_directories(void)
{
    check_group("directories");
    making();
    listing();
    entry_types();
    relative_to_descriptor();
}
