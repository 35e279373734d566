// Tries what a program may be refused, and says what came of it: a line for
// each argument, with the error's name where there is one.
//
//   read:PATH  write:PATH  list:PATH  stat:PATH  remove:PATH
//   wall  monotonic  random  env:NAME  open:COUNT  fill:BYTES  say:BYTES
//
// Exit code: the number of those that failed.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OPEN_MAX_TRIED = 1024, BLOCK = 4096 };

// A byte after the other is read, so that a file of any length fits.
static int try_read(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) return -1;
    char buffer[256];
    ssize_t got = read(fd, buffer, sizeof buffer);
    close(fd);
    if (got < 0) return -1;
    printf("%.*s", (int)got, buffer);
    return 0;
}

static int try_write(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) return -1;
    ssize_t put = write(fd, "written", 7);
    close(fd);
    if (put != 7) return -1;
    printf("7 bytes");
    return 0;
}

static int try_list(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) return -1;
    const char *separator = "";
    errno = 0;
    for (struct dirent *entry; (entry = readdir(folder)); errno = 0) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        printf("%s%s", separator, entry->d_name);
        separator = " ";
    }
    int failed = errno;
    closedir(folder);
    errno = failed;
    return failed ? -1 : 0;
}

static int try_stat(const char *path) {
    struct stat status;
    if (stat(path, &status) < 0) return -1;
    printf("%lld bytes", (long long)status.st_size);
    return 0;
}

static int try_remove(const char *path) {
    if (unlink(path) < 0) return -1;
    printf("removed");
    return 0;
}

static int try_clock(clockid_t clock) {
    struct timespec now, step;
    if (clock_gettime(clock, &now) < 0 || clock_getres(clock, &step) < 0) return -1;
    long long step_ns = step.tv_sec * 1000000000LL + step.tv_nsec;
    long long now_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    printf("steps of %lld ns, %s", step_ns, now_ns % step_ns ? "and finer" : "and no finer");
    return 0;
}

static int try_random(void) {
    unsigned char bytes[16];
    if (getentropy(bytes, sizeof bytes) < 0) return -1;
    printf("16 bytes");
    return 0;
}

static int try_env(const char *name) {
    const char *value = getenv(name);
    printf("%s", value ? value : "not set");
    return 0;
}

static int try_open(int count) {
    int opened = 0, failed = 0;
    static int fds[OPEN_MAX_TRIED];
    while (opened < count && opened < OPEN_MAX_TRIED) {
        fds[opened] = open("/", O_RDONLY | O_DIRECTORY);
        if (fds[opened] < 0) {
            failed = errno;
            break;
        }
        opened++;
    }
    for (int at = 0; at < opened; at++) close(fds[at]);
    printf("%d open", opened);
    if (failed) printf(", ");
    errno = failed;
    return failed ? -1 : 0;
}

static int try_fill(long bytes) {
    static const char block[BLOCK];
    int fd = open("/tmp/fill", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) return -1;
    long done = 0;
    int failed = 0;
    while (done < bytes) {
        ssize_t put = write(fd, block, sizeof block);
        if (put <= 0) {
            failed = errno;
            break;
        }
        done += put;
    }
    close(fd);
    unlink("/tmp/fill");
    printf("%ld bytes", done);
    if (failed) printf(", ");
    errno = failed;
    return failed ? -1 : 0;
}

static int try_say(long bytes) {
    for (long at = 0; at < bytes; at++) putchar(at % 64 == 63 ? '\n' : '.');
    return 0;
}

static int try_one(const char *what, const char *with) {
    if (!strcmp(what, "read")) return try_read(with);
    if (!strcmp(what, "write")) return try_write(with);
    if (!strcmp(what, "list")) return try_list(with);
    if (!strcmp(what, "stat")) return try_stat(with);
    if (!strcmp(what, "remove")) return try_remove(with);
    if (!strcmp(what, "wall")) return try_clock(CLOCK_REALTIME);
    if (!strcmp(what, "monotonic")) return try_clock(CLOCK_MONOTONIC);
    if (!strcmp(what, "random")) return try_random();
    if (!strcmp(what, "env")) return try_env(with);
    if (!strcmp(what, "open")) return try_open(atoi(with));
    if (!strcmp(what, "fill")) return try_fill(atol(with));
    if (!strcmp(what, "say")) return try_say(atol(with));
    errno = EINVAL;
    return -1;
}

int main(int argc, char **argv) {
    int failures = 0;
    for (int at = 1; at < argc; at++) {
        char what[32];
        const char *colon = strchr(argv[at], ':');
        size_t len = colon ? (size_t)(colon - argv[at]) : strlen(argv[at]);
        if (len >= sizeof what) len = sizeof what - 1;
        memcpy(what, argv[at], len);
        what[len] = 0;
        printf("%s: ", argv[at]);
        if (try_one(what, colon ? colon + 1 : "") < 0) {
            printf("%s", strerror(errno));
            failures++;
        }
        printf("\n");
    }
    return failures;
}
