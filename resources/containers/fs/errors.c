/* What is refused, and with which errno. Programs branch on these values. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

/* WASI takes rights from a descriptor where POSIX has an access mode, so a host
 * may say "not capable" where POSIX says EBADF. */
#ifdef ENOTCAPABLE
#define NO_RIGHT ENOTCAPABLE
#else
#define NO_RIGHT EBADF
#endif

static void missing(void)
{
    struct stat status;
    check_fails(open("absent", O_RDONLY), ENOENT, "open of nothing");
    check_fails(open("absent/file", O_WRONLY | O_CREAT, 0644), ENOENT,
                "creation in a directory that is not there");
    check_fails(stat("absent", &status), ENOENT, "stat of nothing");
    check_fails(unlink("absent"), ENOENT, "unlink of nothing");
}

static void wrong_kind(void)
{
    struct stat status;
    mkdir("directory", 0755);
    if (!prepare_file("file", "x"))
        return;
    check_fails(open("directory", O_WRONLY), EISDIR, "writing to a directory");
    check_fails(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR, "O_DIRECTORY on a file");
    check_fails(open("file/below", O_RDONLY), ENOTDIR, "a path through a file");
    check_fails(stat("file/below", &status), ENOTDIR, "stat through a file");
    check_fails(mkdir("file", 0755), EEXIST, "mkdir over a file");
    check_fails(mkdir("file/below", 0755), ENOTDIR, "mkdir below a file");
    check_fails(rmdir("file"), ENOTDIR, "rmdir of a file");
    check_fails_either(unlink("directory"), EISDIR, EPERM, "unlink of a directory");
    check_content("file", "x", 1, "none of which changed the file");

    int fd = open("directory", O_RDONLY | O_DIRECTORY);
    char byte;
    check_fails_either(read(fd, &byte, 1), EISDIR, EBADF, "read of a directory");
    close(fd);
    rmdir("directory");
    unlink("file");
}

static void wrong_descriptor(void)
{
    char byte = 'x';
    if (!prepare_file("file", "x"))
        return;
    int fd = open("file", O_RDONLY);
    check_fails_either(write(fd, &byte, 1), EBADF, NO_RIGHT, "write through a read-only descriptor");
    close(fd);
    fd = open("file", O_WRONLY);
    check_fails_either(read(fd, &byte, 1), EBADF, NO_RIGHT, "read through a write-only descriptor");
    close(fd);
    check_fails(read(fd, &byte, 1), EBADF, "read from a closed descriptor");
    check_fails(close(fd), EBADF, "close of a closed descriptor");
    check_fails(fsync(12345), EBADF, "a descriptor that never was");
    check_content("file", "x", 1, "none of which changed the file");
    unlink("file");
}

/* A container sees its own tree and no more. Hosts differ in the errno for it,
 * and one that treats /.. as / finds no such file; what matters is that the
 * path does not lead anywhere. */
static void climbing_out(void)
{
    check(open("/../../../../../../etc/hostname", O_RDONLY) == -1, "a path that climbs out is refused");
}

void check_errors(void)
{
    check_group("errors");
    missing();
    wrong_kind();
    wrong_descriptor();
    climbing_out();
}
