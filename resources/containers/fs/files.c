/* Opening, creating, appending, truncating and resizing files. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static void creation(void)
{
    int fd = open("new", O_WRONLY | O_CREAT | O_EXCL, 0644);
    check_success(fd, "O_CREAT | O_EXCL creates a file");
    check_equal(write(fd, "first", 5), 5, "write returns the bytes written");
    check_success(close(fd), "close");
    check_content("new", "first", 5, "what was written is read back");

    check_fails(open("new", O_WRONLY | O_CREAT | O_EXCL, 0644), EEXIST,
                "O_EXCL refuses a file that exists");

    fd = open("new", O_WRONLY | O_CREAT, 0644);
    check_success(fd, "O_CREAT opens a file that exists");
    check_equal(write(fd, "F", 1), 1, "one byte over the start");
    close(fd);
    check_content("new", "First", 5, "the rest of the file stays");

    fd = open("new", O_WRONLY | O_TRUNC);
    check_success(fd, "O_TRUNC opens");
    close(fd);
    check_content("new", "", 0, "O_TRUNC empties");
    unlink("new");
}

static void appending(void)
{
    if (!prepare_file("log", "one "))
        return;
    int fd = open("log", O_WRONLY | O_APPEND);
    check_success(fd, "O_APPEND opens");
    check_equal(lseek(fd, 0, SEEK_SET), 0, "an appending descriptor can seek");
    check_equal(write(fd, "two", 3), 3, "write after that seek");
    close(fd);
    check_content("log", "one two", 7, "O_APPEND writes at the end wherever the offset is");
    unlink("log");
}

static void resizing(void)
{
    if (!prepare_file("sized", "0123456789"))
        return;
    int fd = open("sized", O_RDWR);
    check_success(ftruncate(fd, 4), "ftruncate shrinks");
    check_content("sized", "0123", 4, "the head stays");
    check_success(ftruncate(fd, 8), "ftruncate grows");
    check_content("sized", "0123\0\0\0\0", 8, "the new tail is zero, not what was there before");
    check_equal(lseek(fd, 0, SEEK_CUR), 0, "ftruncate leaves the offset");
    check_fails(ftruncate(fd, -1), EINVAL, "a negative size is refused");
    close(fd);
    unlink("sized");
}

static void metadata(void)
{
    if (!prepare_file("data", "twelve bytes"))
        return;
    struct stat by_name, by_descriptor;
    int fd = open("data", O_RDWR);
    check_success(fstat(fd, &by_descriptor), "fstat");
    check_success(stat("data", &by_name), "stat");
    check(S_ISREG(by_descriptor.st_mode), "a file is a regular file");
    check_equal(by_descriptor.st_size, 12, "st_size");
    check(by_name.st_ino == by_descriptor.st_ino && by_name.st_dev == by_descriptor.st_dev,
          "name and descriptor lead to the same inode");

    write(fd, "more than twelve", 16);
    check_success(fstat(fd, &by_descriptor), "fstat after a write");
    check_equal(by_descriptor.st_size, 16, "st_size follows a write");

    const struct timespec times[2] = { { .tv_sec = 1000000 }, { .tv_sec = 2000000 } };
    check_success(futimens(fd, times), "futimens");
    check_success(stat("data", &by_name), "stat after futimens");
    check_equal(by_name.st_mtim.tv_sec, 2000000, "the modification time was set");
    check_success(fsync(fd), "fsync");
    check_success(fdatasync(fd), "fdatasync");
    close(fd);
    unlink("data");
}

/* Vectored calls may move fewer bytes than they are given; WASI hosts often
 * take one part at a time. What counts is that the bytes moved are the first
 * ones, in order. */
static void vectors(void)
{
    char left[] = "left ", middle[] = "", right[] = "right";
    struct iovec out[3] = { { left, 5 }, { middle, 0 }, { right, 5 } };
    int fd = open("vector", O_RDWR | O_CREAT | O_TRUNC, 0644);
    ssize_t written = writev(fd, out, 3);
    check(written > 0 && written <= 10, "writev writes");
    check_equal(lseek(fd, 0, SEEK_END), written, "as much as it says");
    check_content("vector", "left right", written > 0 ? (size_t)written : 0, "part after part");

    char head[4] = { 0 }, tail[16] = { 0 };
    struct iovec in[2] = { { head, sizeof head }, { tail, sizeof tail } };
    pwrite(fd, "left right", 10, 0);
    lseek(fd, 0, SEEK_SET);
    ssize_t count = readv(fd, in, 2);
    check(count > 0 && count <= 10, "readv reads");
    size_t in_head = count < 4 ? (size_t)count : 4;
    check(memcmp(head, "left", in_head) == 0 && memcmp(tail, " right", count > 4 ? (size_t)count - 4 : 0) == 0,
          "into part after part");
    check_equal(lseek(fd, 0, SEEK_CUR), count, "and moves the offset as far");
    close(fd);
    unlink("vector");
}

/* Larger than any buffer on the way, and not a multiple of a page. */
static void large_file(void)
{
    enum { CHUNK = 10007, CHUNKS = 50 };
    static unsigned char chunk[CHUNK];
    int fd = open("large", O_RDWR | O_CREAT | O_TRUNC, 0644);
    bool written = fd != -1, same = true;
    for (int i = 0; i < CHUNKS && written; i++) {
        memset(chunk, 'a' + i % 26, sizeof chunk);
        written = write(fd, chunk, sizeof chunk) == (ssize_t)sizeof chunk;
    }
    check(written, "500,350 bytes are written in 50 pieces");
    check_equal(lseek(fd, 0, SEEK_SET), 0, "back to the start");
    for (int i = 0; i < CHUNKS && same; i++) {
        size_t used = 0;
        while (used < sizeof chunk) {
            ssize_t count = read(fd, chunk + used, sizeof chunk - used);
            if (count <= 0)
                break;
            used += (size_t)count;
        }
        same = used == sizeof chunk;
        for (size_t at = 0; at < used && same; at++)
            same = chunk[at] == 'a' + i % 26;
    }
    check(same, "and read back, each byte the same");
    char extra;
    check_equal(read(fd, &extra, 1), 0, "then the file ends");
    close(fd);
    unlink("large");
}

void check_files(void)
{
    check_group("files");
    creation();
    appending();
    resizing();
    metadata();
    vectors();
    large_file();
}
