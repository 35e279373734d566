/* Names come and go while the files behind them stay: rename and unlink. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static void renaming_files(void)
{
    struct stat before, after;
    if (!prepare_file("old", "old content") || !prepare_file("target", "replaced"))
        return;
    stat("old", &before);
    check_success(rename("old", "fresh"), "rename to a free name");
    check_fails(stat("old", &after), ENOENT, "the old name is gone");
    check_success(stat("fresh", &after), "the new name is there");
    check(before.st_ino == after.st_ino, "it is the same inode");

    /* The step every safe save relies on: the reader sees old or new, whole. */
    int reader = open("target", O_RDONLY);
    check_success(rename("fresh", "target"), "rename over a file that exists");
    check_content("target", "old content", 11, "the name leads to the new file");
    char got[16] = { 0 };
    check_equal(read(reader, got, sizeof got), 8, "a reader of the replaced file reads on");
    check(memcmp(got, "replaced", 8) == 0, "what it held");
    close(reader);
    check_success(rename("target", "target"), "rename to itself does nothing");
    check_content("target", "old content", 11, "and loses nothing");
    check_fails(rename("absent", "target"), ENOENT, "rename of nothing");
    check_content("target", "old content", 11, "leaves the target");
    unlink("target");
}

static void renaming_directories(void)
{
    mkdir("here", 0755);
    mkdir("there", 0755);
    if (!prepare_file("here/file", "inside"))
        return;
    check_success(rename("here", "there/moved"), "rename moves a directory into another");
    check_content("there/moved/file", "inside", 6, "with what is in it");
    check_fails(rename("there", "there/moved/loop"), EINVAL, "but not into itself");

    mkdir("empty", 0755);
    check_fails_either(rename("empty", "there"), ENOTEMPTY, EEXIST,
                       "a directory does not replace one that is not empty");
    check_success(rename("there/moved", "empty"), "a directory replaces one that is empty");
    check_content("empty/file", "inside", 6, "and keeps its content");

    if (!prepare_file("plain", "plain"))
        return;
    check_fails(rename("plain", "empty"), EISDIR, "a file does not replace a directory");
    check_fails(rename("empty", "plain"), ENOTDIR, "a directory does not replace a file");
    check_success(rename("plain", "empty/plain"), "rename moves a file between directories");
    check_content("empty/plain", "plain", 5, "with its content");

    unlink("empty/plain");
    unlink("empty/file");
    rmdir("empty");
    rmdir("there");
}

static void unlinking_open_file(void)
{
    struct stat status;
    if (!prepare_file("doomed", "still here"))
        return;
    int fd = open("doomed", O_RDWR);
    check_success(unlink("doomed"), "unlink of an open file");
    check_fails(stat("doomed", &status), ENOENT, "the name is gone");
    char got[16] = { 0 };
    check_equal(read(fd, got, sizeof got), 10, "the descriptor still reads");
    check(memcmp(got, "still here", 10) == 0, "what was there");
    check_equal(pwrite(fd, "written", 7, 0), 7, "and still writes");
    check_success(fstat(fd, &status), "fstat of a file without a name");
    check_equal(status.st_size, 10, "knows its size");

    int again = open("doomed", O_WRONLY | O_CREAT | O_EXCL, 0644);
    check_success(again, "the name can be used again");
    check_equal(write(again, "new", 3), 3, "for another file");
    check_equal(pread(fd, got, sizeof got, 0), 10, "the old one is not disturbed");
    check(memcmp(got, "writtenere", 10) == 0, "and holds what was written to it");
    close(again);
    close(fd);
    check_content("doomed", "new", 3, "closing the old one leaves the new one");
    unlink("doomed");
}

void check_names(void)
{
    check_group("names");
    renaming_files();
    renaming_directories();
    unlinking_open_file();
}
