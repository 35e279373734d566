/* Where the next byte comes from: seek, pread and pwrite, and descriptors that
 * share a file without sharing an offset. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static void seeking(int fd)
{
    char got[8] = { 0 };
    check_equal(lseek(fd, 0, SEEK_END), 10, "SEEK_END finds the size");
    check_equal(lseek(fd, -3, SEEK_END), 7, "SEEK_END takes a negative distance");
    check_equal(read(fd, got, sizeof got), 3, "read stops at the end of the file");
    check(memcmp(got, "789", 3) == 0, "and returns the tail");
    check_equal(read(fd, got, sizeof got), 0, "read at the end returns 0");
    check_equal(lseek(fd, -5, SEEK_CUR), 5, "SEEK_CUR takes a negative distance");
    check_fails(lseek(fd, -1, SEEK_SET), EINVAL, "an offset below 0 is refused");
    check_equal(lseek(fd, 0, SEEK_CUR), 5, "a refused seek leaves the offset");
}

static void positioned(int fd)
{
    char got[4] = { 0 };
    lseek(fd, 2, SEEK_SET);
    check_equal(pread(fd, got, 3, 6), 3, "pread");
    check(memcmp(got, "678", 3) == 0, "pread reads at its own offset");
    check_equal(pwrite(fd, "xy", 2, 4), 2, "pwrite");
    check_equal(lseek(fd, 0, SEEK_CUR), 2, "neither moves the offset");
    check_content("offsets", "0123xy6789", 10, "pwrite wrote in place");
    check_equal(pread(fd, got, 3, 100), 0, "pread beyond the end returns 0");
}

static void hole(int fd)
{
    check_equal(lseek(fd, 14, SEEK_SET), 14, "seek beyond the end");
    check_equal(lseek(fd, 0, SEEK_END), 10, "which alone does not grow the file");
    lseek(fd, 14, SEEK_SET);
    check_equal(write(fd, "!", 1), 1, "write beyond the end");
    check_content("offsets", "0123xy6789\0\0\0\0!", 15, "the gap reads as zero");
}

static void two_descriptors(int fd)
{
    char got[4] = { 0 };
    int other = open("offsets", O_RDONLY);
    check_success(other, "a second descriptor for an open file");
    lseek(fd, 1, SEEK_SET);
    check_equal(lseek(other, 0, SEEK_CUR), 0, "offsets are not shared");
    check_equal(write(fd, "ONE", 3), 3, "write through the first");
    check_equal(read(other, got, 4), 4, "read through the second");
    check(memcmp(got, "0ONE", 4) == 0, "sees it at once");
    close(other);
}

void check_offsets(void)
{
    check_group("offsets");
    if (!prepare_file("offsets", "0123456789"))
        return;
    int fd = open("offsets", O_RDWR);
    if (check_success(fd, "O_RDWR opens")) {
        seeking(fd);
        positioned(fd);
        hole(fd);
        two_descriptors(fd);
        close(fd);
    }
    unlink("offsets");
}
