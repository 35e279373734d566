/* dial: connections by wasi:sockets.
 *
 *   dial HOST PORT             sends standard input, and prints what comes
 *   dial --lookup HOST         prints the addresses of a name
 *   dial --ping MS HOST PORT   every so many milliseconds, on a connection of
 *                              its own: sends a number, prints the answer
 *   dial --hold MS HOST PORT   the same, on one connection, which is made
 *                              again when it is lost
 *   dial --serve PORT          gives back whatever comes, one client at a time
 *   dial --flood N HOST PORT   N connections at once; says how many there were
 *   dial --udp                 tries what there is not
 *
 * The module is one of WASI preview 1 with functions of 0.2 besides, which are
 * declared here as the canonical ABI of the component model lowers them; the
 * adapter of preview 1 makes a component of it. */

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FROM(interface, name) \
    __attribute__((import_module("wasi:" interface "@0.2.12"), import_name(name))) extern

typedef int32_t handle;

FROM("io/poll", "[method]pollable.block") void pollable_block(handle);
FROM("io/poll", "[resource-drop]pollable") void pollable_drop(handle);
FROM("io/streams", "[method]input-stream.blocking-read") void input_read(handle, int64_t, void *);
FROM("io/streams", "[resource-drop]input-stream") void input_drop(handle);
FROM("io/streams", "[method]output-stream.blocking-write-and-flush") void output_write(handle, const void *, size_t, void *);
FROM("io/streams", "[resource-drop]output-stream") void output_drop(handle);
FROM("io/error", "[resource-drop]error") void error_drop(handle);
FROM("sockets/instance-network", "instance-network") handle instance_network(void);
FROM("sockets/ip-name-lookup", "resolve-addresses") void resolve(handle, const char *, size_t, void *);
FROM("sockets/ip-name-lookup", "[method]resolve-address-stream.resolve-next-address") void resolve_next(handle, void *);
FROM("sockets/ip-name-lookup", "[method]resolve-address-stream.subscribe") handle resolve_subscribe(handle);
FROM("sockets/ip-name-lookup", "[resource-drop]resolve-address-stream") void resolve_drop(handle);
FROM("sockets/tcp-create-socket", "create-tcp-socket") void tcp_create(int32_t, void *);
FROM("sockets/udp-create-socket", "create-udp-socket") void udp_create(int32_t, void *);
FROM("sockets/tcp", "[method]tcp-socket.start-bind") void tcp_start_bind(handle, handle, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, void *);
FROM("sockets/tcp", "[method]tcp-socket.finish-bind") void tcp_finish_bind(handle, void *);
FROM("sockets/tcp", "[method]tcp-socket.start-listen") void tcp_start_listen(handle, void *);
FROM("sockets/tcp", "[method]tcp-socket.finish-listen") void tcp_finish_listen(handle, void *);
FROM("sockets/tcp", "[method]tcp-socket.accept") void tcp_accept(handle, void *);
FROM("sockets/tcp", "[method]tcp-socket.start-connect") void tcp_start_connect(handle, handle, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, void *);
FROM("sockets/tcp", "[method]tcp-socket.finish-connect") void tcp_finish_connect(handle, void *);
FROM("sockets/tcp", "[method]tcp-socket.local-address") void tcp_local_address(handle, void *);
FROM("sockets/tcp", "[method]tcp-socket.remote-address") void tcp_remote_address(handle, void *);
FROM("sockets/tcp", "[method]tcp-socket.subscribe") handle tcp_subscribe(handle);
FROM("sockets/tcp", "[method]tcp-socket.shutdown") void tcp_shutdown(handle, int32_t, void *);
FROM("sockets/tcp", "[resource-drop]tcp-socket") void tcp_drop(handle);

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_len, size_t align, size_t len) {
    (void)old_len;
    (void)align;
    return len ? realloc(old, len) : (void *)align;
}

/* `error-code`, by number. */
static const char *const ERRORS[] = {
    "unknown", "access-denied", "not-supported", "invalid-argument", "out-of-memory", "timeout",
    "concurrency-conflict", "not-in-progress", "would-block", "invalid-state", "new-socket-limit",
    "address-not-bindable", "address-in-use", "remote-unreachable", "connection-refused",
    "connection-reset", "connection-aborted", "datagram-too-large", "name-unresolvable",
    "temporary-resolver-failure", "permanent-resolver-failure",
};
enum { WOULD_BLOCK = 8, CLOSED = -1, FAILED = -2, OK = -3 };

struct address {
    int v6;
    uint16_t part[8]; /* four of them for IPv4 */
};

struct connection {
    handle socket, input, output;
};

static const char *error_name(int error) {
    return error == CLOSED ? "closed" : error == FAILED ? "failed" : ERRORS[error];
}

static void say(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    fflush(stdout);
}

static int fail(const char *what, int error) {
    fprintf(stderr, "dial: %s: %s\n", what, error_name(error));
    return 1;
}

static void print_address(const struct address *address) {
    if (!address->v6) {
        say("%d.%d.%d.%d", address->part[0], address->part[1], address->part[2], address->part[3]);
        return;
    }
    for (int at = 0; at < 8; at++) say(at ? ":%x" : "%x", address->part[at]);
}

/* A `result<_, error-code>` and its like: what is in `at` if it is an error. */
static int outcome(const uint8_t *result, int at) {
    return result[0] ? result[at] : OK;
}

/* The addresses of a name, or of itself: how many, or an error. */
static int look_up(handle network, const char *name, struct address *found, int most, int *error) {
    union { uint8_t bytes[24]; int32_t words[6]; } result;
    resolve(network, name, strlen(name), &result);
    if ((*error = outcome(result.bytes, 4)) != OK) return 0;
    handle stream = result.words[1];
    int count = 0;
    for (;;) {
        resolve_next(stream, &result);
        if ((*error = outcome(result.bytes, 2)) == WOULD_BLOCK) {
            handle pollable = resolve_subscribe(stream);
            pollable_block(pollable);
            pollable_drop(pollable);
            continue;
        }
        if (*error != OK || !result.bytes[2] || count == most) break;
        struct address *address = &found[count++];
        address->v6 = result.bytes[4];
        for (int at = 0; at < (address->v6 ? 8 : 4); at++)
            address->part[at] = address->v6 ? (uint16_t)(result.bytes[6 + 2 * at] | result.bytes[7 + 2 * at] << 8)
                                            : result.bytes[6 + at];
    }
    resolve_drop(stream);
    return count;
}

static int create(int v6, handle *socket) {
    int32_t result[2];
    tcp_create(v6, result);
    *socket = result[1];
    return outcome((uint8_t *)result, 4);
}

static void wait_for(handle pollable) {
    pollable_block(pollable);
}

/* Connects to an address; an error, or OK. The pollable is there from the
 * beginning, as in C libraries. */
static int connect_to(handle network, const struct address *to, uint16_t port, struct connection *made) {
    int32_t result[3];
    int error = create(to->v6, &made->socket);
    if (error != OK) return error;
    handle pollable = tcp_subscribe(made->socket);
    const uint16_t *p = to->part;
    if (to->v6) tcp_start_connect(made->socket, network, 1, port, 0, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], 0, result);
    else tcp_start_connect(made->socket, network, 0, port, p[0], p[1], p[2], p[3], 0, 0, 0, 0, 0, 0, result);
    error = outcome((uint8_t *)result, 1);
    while (error == OK) {
        wait_for(pollable);
        tcp_finish_connect(made->socket, result);
        error = outcome((uint8_t *)result, 4);
        if (error == OK) break;
        if (error == WOULD_BLOCK) error = OK;
    }
    pollable_drop(pollable);
    if (error == OK) {
        made->input = result[1];
        made->output = result[2];
    } else {
        tcp_drop(made->socket);
    }
    return error;
}

static void hang_up(struct connection *made) {
    input_drop(made->input);
    output_drop(made->output);
    tcp_drop(made->socket);
}

/* Connects to the first address of a host that takes it. */
static int dial(handle network, const char *host, uint16_t port, struct connection *made) {
    struct address found[16];
    int error;
    int count = look_up(network, host, found, 16, &error);
    for (int at = 0; at < count; at++)
        if ((error = connect_to(network, &found[at], port, made)) == OK) return OK;
    return error;
}

/* A stream's error. */
static int stream_outcome(const int32_t *result) {
    const uint8_t *bytes = (const uint8_t *)result;
    if (!bytes[0]) return OK;
    if (bytes[4]) return CLOSED;
    error_drop(result[2]);
    return FAILED;
}

static int send_all(handle output, const char *bytes, size_t len) {
    int32_t result[3];
    for (size_t at = 0; at < len;) {
        size_t part = len - at < 4096 ? len - at : 4096;
        output_write(output, bytes + at, part, result);
        int error = stream_outcome(result);
        if (error != OK) return error;
        at += part;
    }
    return OK;
}

/* What comes next, to be freed. */
static int receive(handle input, char **bytes, size_t *len) {
    int32_t result[3];
    input_read(input, 16384, result);
    int error = stream_outcome(result);
    if (error == OK) {
        *bytes = (char *)result[1];
        *len = (size_t)result[2];
    }
    return error;
}

static int copy(handle from, handle to) {
    for (;;) {
        char *bytes;
        size_t len;
        int error = receive(from, &bytes, &len);
        if (error != OK) return error;
        if (to) error = send_all(to, bytes, len);
        else fwrite(bytes, 1, len, stdout);
        free(bytes);
        if (error != OK) return error;
    }
}

static int talk(handle network, const char *host, uint16_t port) {
    struct connection made;
    int error = dial(network, host, port, &made);
    if (error != OK) return fail(host, error);
    static char buffer[16384];
    ssize_t count;
    while ((count = read(0, buffer, sizeof buffer)) > 0)
        if ((error = send_all(made.output, buffer, (size_t)count)) != OK) return fail("sending", error);
    int32_t result[1];
    tcp_shutdown(made.socket, 1, result);
    error = copy(made.input, 0);
    fflush(stdout);
    if (error != CLOSED) return fail("receiving", error);
    hang_up(&made);
    return 0;
}

static int ask(struct connection *made, unsigned number) {
    char line[16];
    int len = snprintf(line, sizeof line, "%u\n", number);
    int error = send_all(made->output, line, (size_t)len);
    char *bytes = 0;
    size_t got = 0;
    if (error == OK) error = receive(made->input, &bytes, &got);
    if (error == OK) say("%.*s", (int)got, bytes);
    free(bytes);
    return error;
}

static int ping(handle network, int ms, const char *host, uint16_t port, int hold) {
    struct connection made;
    for (unsigned number = 1, there = 0;; number++) {
        int error = there ? OK : dial(network, host, port, &made);
        there = error == OK;
        if (there) error = ask(&made, number);
        if (error != OK) say("%s\n", error_name(error));
        if (there && (!hold || error != OK)) {
            hang_up(&made);
            there = 0;
        }
        usleep((useconds_t)ms * 1000);
    }
}

static int serve(handle network, uint16_t port) {
    handle socket;
    int32_t result[8];
    int error = create(0, &socket);
    if (error != OK) return fail("socket", error);
    tcp_start_bind(socket, network, 0, port, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, result);
    if ((error = outcome((uint8_t *)result, 1)) != OK) return fail("bind", error);
    tcp_finish_bind(socket, result);
    tcp_start_listen(socket, result);
    if ((error = outcome((uint8_t *)result, 1)) != OK) return fail("listen", error);
    tcp_finish_listen(socket, result);
    say("listening\n");
    handle pollable = tcp_subscribe(socket);
    for (;;) {
        wait_for(pollable);
        tcp_accept(socket, result);
        if ((error = outcome((uint8_t *)result, 4)) == WOULD_BLOCK) continue;
        if (error != OK) return fail("accept", error);
        struct connection made = {result[1], result[2], result[3]};
        copy(made.input, made.output);
        hang_up(&made);
    }
}

static int flood(handle network, int count, const char *host, uint16_t port) {
    int there = 0, error = OK;
    struct connection *all = calloc((size_t)count, sizeof *all);
    while (there < count && (error = dial(network, host, port, &all[there])) == OK) there++;
    say("%d %s\n", there, error == OK ? "" : error_name(error));
    int32_t result[8];
    if (there > 0) {
        const uint8_t *bytes = (const uint8_t *)result;
        tcp_local_address(all[0].socket, result);
        say("%d.%d.%d.%d is connected", bytes[10], bytes[11], bytes[12], bytes[13]);
        tcp_remote_address(all[0].socket, result);
        say(" to %d.%d.%d.%d:%d\n", bytes[10], bytes[11], bytes[12], bytes[13], bytes[8] | bytes[9] << 8);
    }
    for (int at = 0; at < there; at++) hang_up(&all[at]);
    return error == OK ? 0 : 1;
}

static int usage(void) {
    fputs("usage: dial [--ping MS|--hold MS|--flood N] HOST PORT | --lookup HOST | --serve PORT | --udp\n", stderr);
    return 2;
}

int main(int argc, char **argv) {
    handle network = instance_network();
    const char *mode = argc > 1 ? argv[1] : "";
    if (argc == 2 && !strcmp(mode, "--udp")) {
        int32_t result[2];
        udp_create(0, result);
        return fail("udp", outcome((uint8_t *)result, 4));
    }
    if (argc == 3 && !strcmp(mode, "--lookup")) {
        struct address found[16];
        int error, count = look_up(network, argv[2], found, 16, &error);
        for (int at = 0; at < count; at++) {
            print_address(&found[at]);
            say("\n");
        }
        return error == OK ? 0 : fail(argv[2], error);
    }
    if (argc == 3 && !strcmp(mode, "--serve")) return serve(network, (uint16_t)atoi(argv[2]));
    if (argc == 5) {
        int number = atoi(argv[2]);
        uint16_t port = (uint16_t)atoi(argv[4]);
        if (!strcmp(mode, "--ping")) return ping(network, number, argv[3], port, 0);
        if (!strcmp(mode, "--hold")) return ping(network, number, argv[3], port, 1);
        if (!strcmp(mode, "--flood")) return flood(network, number, argv[3], port);
    }
    if (argc != 3) return usage();
    return talk(network, argv[1], (uint16_t)atoi(argv[2]));
}
