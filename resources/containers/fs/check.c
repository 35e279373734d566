#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *group = "";
static unsigned checks_made;
static unsigned checks_failed;

void check_group(const char *name)
{
    group = name;
}

/* Every verdict goes through here. Flushed line by line, so that a file system
 * that traps or hangs still shows how far the program came. */
static bool verdict(bool held, const char *what, const char *instead)
{
    checks_made++;
    if (held) {
        printf("ok   %s: %s\n", group, what);
    } else {
        checks_failed++;
        printf("FAIL %s: %s: %s\n", group, what, instead);
    }
    fflush(stdout);
    return held;
}

bool check(bool held, const char *what)
{
    return verdict(held, what, "it does not hold");
}

bool check_equal(long long got, long long wanted, const char *what)
{
    char instead[80];
    snprintf(instead, sizeof instead, "%lld instead of %lld", got, wanted);
    return verdict(got == wanted, what, instead);
}

bool check_success(long long result, const char *what)
{
    return verdict(result != -1, what, strerror(errno));
}

bool check_fails_either(long long result, int wanted, int alternative, const char *what)
{
    int error = errno;
    char instead[160];
    if (result != -1)
        snprintf(instead, sizeof instead, "succeeded instead of failing with \"%s\"", strerror(wanted));
    else
        snprintf(instead, sizeof instead, "errno %d (%s) instead of %d", error, strerror(error),
                 wanted);
    return verdict(result == -1 && (error == wanted || error == alternative), what, instead);
}

bool check_fails(long long result, int wanted, const char *what)
{
    return check_fails_either(result, wanted, wanted, what);
}

bool check_content(const char *path, const char *wanted, size_t length, const char *what)
{
    char got[4096];
    size_t used = 0;
    int fd = open(path, O_RDONLY);
    if (fd == -1)
        return verdict(false, what, strerror(errno));
    while (used < sizeof got) {
        ssize_t count = read(fd, got + used, sizeof got - used);
        if (count == -1) {
            int error = errno;
            close(fd);
            return verdict(false, what, strerror(error));
        }
        if (count == 0)
            break;
        used += (size_t)count;
    }
    close(fd);

    char instead[80];
    if (used != length)
        snprintf(instead, sizeof instead, "%zu bytes instead of %zu", used, length);
    else
        snprintf(instead, sizeof instead, "other bytes");
    return verdict(used == length && memcmp(got, wanted, length) == 0, what, instead);
}

bool check_summary(void)
{
    printf("%u checks, %u failed\n", checks_made, checks_failed);
    return checks_failed == 0;
}

bool prepare_file(const char *path, const char *content)
{
    size_t length = strlen(content);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    bool written = fd != -1 && write(fd, content, length) == (ssize_t)length;
    int error = errno;
    if (fd != -1)
        close(fd);
    return written || verdict(false, path, strerror(error));
}
