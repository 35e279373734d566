/* web: an HTTP/1.1 server on the sockets that it is given.
 *
 * One thread, any number of connections up to CONNECTIONS: poll(2) says which
 * of them can go on, and none waits for another. Connections are kept open as
 * HTTP/1.1 wants it (RFC 9112, 9.3); requests may follow each other without
 * waiting for the answers, which come in order. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 2,
    LISTENERS = 16,
    CONNECTIONS = 64,
    REQUEST = 16 << 10, /* longest request with its body, in bytes */
    CHUNK = 16 << 10,   /* of a long answer, made at once */
};

#define MAX_BODY (1ull << 30)

struct connection {
    int fd; /* -1: none */
    size_t got;
    size_t head_len, head_sent;
    uint64_t body_len, body_sent;
    int echo;  /* the body is the request's own, at this offset; 0: it is made up */
    int close; /* when the answer is sent */
    size_t used; /* bytes of the request, to be forgotten with its answer */
    char request[REQUEST + 1];
    char head[512];
};

static struct connection connections[CONNECTIONS];
static char pattern[CHUNK];
static unsigned long long answered;

static int number(const char *text, uint64_t max, uint64_t *value)
{
    char *end;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || (*end != '\0' && *end != ' ') || parsed > max)
        return 0;
    *value = parsed;
    return 1;
}

static void answer(struct connection *c, const char *status, const char *text, uint64_t len)
{
    c->body_len = len;
    c->body_sent = 0;
    c->head_sent = 0;
    c->echo = 0;
    size_t room = sizeof c->head;
    int head = snprintf(c->head, room,
                        "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %llu\r\n%s\r\n", status,
                        (unsigned long long)(text ? strlen(text) : len), c->close ? "Connection: close\r\n" : "");
    if (text) { /* short ones go out in one piece */
        head += snprintf(c->head + head, room - (size_t)head, "%s", text);
        c->body_len = 0;
    }
    c->head_len = (size_t)head;
    answered++;
}

/* The value of a header of the request, or NULL. */
static const char *header(const char *request, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = strstr(request, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':') {
            const char *value = line + 3 + len;
            return value + strspn(value, " \t");
        }
    }
    return NULL;
}

/* Answers the request at the start of the buffer, if it is there whole. */
static void serve(struct connection *c)
{
    c->request[c->got] = '\0';
    char *end = strstr(c->request, "\r\n\r\n");
    if (!end) {
        if (c->got == REQUEST) {
            c->close = 1;
            c->used = c->got;
            answer(c, "431 Request Header Fields Too Large", "too long\n", 0);
        }
        return;
    }
    size_t head = (size_t)(end - c->request) + 4;
    end[2] = '\0'; /* what is looked for is in the head */
    uint64_t body = 0;
    const char *length = header(c->request, "Content-Length");
    if (length) {
        char text[24];
        size_t len = strcspn(length, "\r \t");
        snprintf(text, sizeof text, "%.*s", (int)(len < 23 ? len : 23), length);
        if (!number(text, REQUEST - head, &body)) {
            c->close = 1;
            c->used = c->got;
            answer(c, "413 Content Too Large", "too long\n", 0);
            return;
        }
    }
    end[2] = '\r';
    if (c->got < head + body)
        return;
    end[2] = '\0';
    const char *keep = header(c->request, "Connection");
    c->close = keep && strncasecmp(keep, "close", 5) == 0;
    c->used = head + (size_t)body;
    char *path = strchr(c->request, ' ');
    uint64_t len;
    if (!path || path++ > end || strncmp(path + strcspn(path, " \r"), " HTTP/1.1\r\n", 11) != 0) {
        c->close = 1;
        answer(c, "400 Bad Request", "this is not HTTP/1.1\n", 0);
    } else if (strncmp(path, "/ ", 2) == 0) {
        answer(c, "200 OK", "Hello from a container!\n", 0);
    } else if (strncmp(path, "/count ", 7) == 0) {
        char text[32];
        snprintf(text, sizeof text, "%llu\n", answered);
        answer(c, "200 OK", text, 0);
    } else if (strncmp(path, "/bytes/", 7) == 0 && number(path + 7, MAX_BODY, &len)) {
        answer(c, "200 OK", NULL, len);
    } else if (strncmp(path, "/echo ", 6) == 0) {
        answer(c, "200 OK", NULL, body);
        c->echo = (int)head;
    } else {
        answer(c, "404 Not Found", "there is no such page\n", 0);
    }
}

static void hang_up(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
}

/* Sends what goes; 1 if there is more, 0 if it is done, -1 if it failed. */
static int send_some(struct connection *c)
{
    while (c->head_sent < c->head_len || c->body_sent < c->body_len) {
        const char *from = c->head + c->head_sent;
        size_t len = c->head_len - c->head_sent;
        if (len == 0) {
            uint64_t left = c->body_len - c->body_sent;
            size_t at = (size_t)(c->body_sent % 64);
            from = c->echo ? c->request + c->echo + c->body_sent : pattern + at;
            len = left < CHUNK - at ? (size_t)left : CHUNK - at;
        }
        ssize_t sent = send(c->fd, from, len, 0);
        if (sent < 0)
            return errno == EAGAIN ? 1 : -1;
        if (c->head_sent < c->head_len)
            c->head_sent += (size_t)sent;
        else
            c->body_sent += (uint64_t)sent;
    }
    return 0;
}

/* Does all that a connection can do now. */
static void go_on(struct connection *c)
{
    for (;;) {
        if (c->used) {
            int more = send_some(c);
            if (more > 0)
                return;
            if (more < 0 || c->close) {
                hang_up(c);
                return;
            }
            memmove(c->request, c->request + c->used, c->got - c->used);
            c->got -= c->used;
            c->used = 0;
            serve(c);
            if (c->used)
                continue;
        }
        ssize_t got = recv(c->fd, c->request + c->got, REQUEST - c->got, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            hang_up(c);
            return;
        }
        c->got += (size_t)got;
        serve(c);
    }
}

static void let_in(int listener)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &connections[i];
        if (c->fd >= 0)
            continue;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            return;
        fcntl(fd, F_SETFL, O_NONBLOCK);
        c->fd = fd;
        c->got = c->used = 0;
        c->close = 0;
        go_on(c);
    }
}

int main(int argc, char **argv)
{
    const char *count = getenv("LISTEN_FDS"), *first = getenv("LISTEN_FDS_START");
    uint64_t listeners, start;
    if (argc > 1) {
        fputs("usage: web\n", stderr);
        return EXIT_USAGE;
    }
    if (!count || !first || !number(count, LISTENERS, &listeners) || !number(first, 1000, &start)) {
        fputs("web: it has no port to listen on: run it with --publish 8080:80\n", stderr);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < CHUNK; i++)
        pattern[i] = i % 64 == 63 ? '\n' : (char)('0' + i % 64);
    for (int i = 0; i < CONNECTIONS; i++)
        connections[i].fd = -1;
    for (uint64_t i = 0; i < listeners; i++)
        fcntl((int)(start + i), F_SETFL, O_NONBLOCK);
    printf("web: listening on %s\n", getenv("LISTEN_FDNAMES"));
    fflush(stdout);
    for (;;) {
        static struct pollfd polled[LISTENERS + CONNECTIONS];
        static struct connection *of[LISTENERS + CONNECTIONS];
        nfds_t n = 0;
        int room = 0;
        for (int i = 0; i < CONNECTIONS; i++) {
            struct connection *c = &connections[i];
            if (c->fd < 0) {
                room = 1;
                continue;
            }
            of[n] = c;
            polled[n++] = (struct pollfd){ .fd = c->fd, .events = c->used ? POLLOUT : POLLIN };
        }
        for (uint64_t i = 0; room && i < listeners; i++) {
            of[n] = NULL;
            polled[n++] = (struct pollfd){ .fd = (int)(start + i), .events = POLLIN };
        }
        if (poll(polled, n, -1) < 0) {
            perror("web: poll");
            return 1;
        }
        for (nfds_t i = 0; i < n; i++) {
            if (polled[i].revents == 0)
                continue;
            if (of[i])
                go_on(of[i]);
            else
                let_in(polled[i].fd);
        }
    }
}
