/* jsonq: applies a filter to JSON values and prints what comes out.
 *
 * Inputs are a stream of values in files or on standard input. Each is read,
 * filtered and printed before the next one is looked at, so that everything up
 * to an error in the input has been answered. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exit_codes.h"
#include "filter.h"
#include "json.h"

struct options {
    bool raw;
    bool slurp;
    bool no_input;
    enum json_style style;
};

struct session {
    const struct options *options;
    const struct filter *filter;
    struct arena arena; /* emptied after each input */
    struct output output;
    int exit_code;
};

static int usage(void)
{
    fputs("usage: jsonq [-n] [-r] [-c] [-s] FILTER [FILE]...\n"
          "  -n  run the filter once, on null, without reading input\n"
          "  -r  print strings without quotes and escapes\n"
          "  -c  print each value on one line\n"
          "  -s  run the filter once, on an array of all inputs\n",
          stderr);
    return EXIT_USAGE;
}

/* Options may stand anywhere before --, one by one or together (-rc). The other
 * arguments are moved to the front of `argv`; returns how many they are, or -1
 * for a wrong option. */
static int parse_options(int argc, char **argv, struct options *options)
{
    int others = 0;
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        if (ended || argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[others++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            ended = true;
            continue;
        }
        for (const char *letter = argv[i] + 1; *letter != '\0'; letter++) {
            switch (*letter) {
            case 'n': options->no_input = true; break;
            case 'r': options->raw = true; break;
            case 'c': options->style = JSON_COMPACT; break;
            case 's': options->slurp = true; break;
            default:
                fprintf(stderr, "jsonq: unknown option -%c\n", *letter);
                return -1;
            }
        }
    }
    return others;
}

static void report_position(const char *where, const struct scanner *scanner)
{
    struct position position = scan_position(scanner, scanner->error_at);
    fprintf(stderr, "jsonq: %s:%zu:%zu: %s\n", where, position.line, position.column,
            scanner->error);
}

static void answer(struct session *session, const struct value *input)
{
    struct evaluation run = { .arena = &session->arena };
    struct list outputs = { 0 };
    bool ok = filter_run(&run, session->filter, input, &outputs);
    for (size_t i = 0; i < outputs.count; i++) {
        const struct value *value = outputs.items[i];
        session->output.length = 0;
        if (session->options->raw && value->kind == JSON_STRING)
            output_append(&session->output, value->string.bytes, value->string.length);
        else
            json_write(&session->output, value, session->options->style);
        output_append(&session->output, "\n", 1);
        fwrite(session->output.bytes, 1, session->output.length, stdout);
    }
    if (!ok) {
        fflush(stdout); /* what came before the error is read before the error */
        fprintf(stderr, "jsonq: %s\n", run.message);
        session->exit_code = EXIT_DATA;
    }
}

/* Answers each value of a text, or collects them. False if it is not JSON. */
static bool answer_stream(struct session *session, const char *name, const char *bytes,
                          size_t length, struct list *collected)
{
    struct scanner scanner = scanner_over(bytes, length, &session->arena);
    const struct value *value;
    while (json_read(&scanner, &value)) {
        if (collected != NULL) {
            list_push(&session->arena, collected, value);
        } else {
            answer(session, value);
            arena_reset(&session->arena);
        }
    }
    if (scanner.error == NULL)
        return true;
    fflush(stdout);
    report_position(name, &scanner);
    session->exit_code = EXIT_DATA;
    return false;
}

/* All of a file. NULL with errno set if it cannot be read. */
static char *read_all(FILE *file, size_t *length)
{
    size_t capacity = 64 * 1024;
    char *bytes = malloc(capacity);
    *length = 0;
    for (;;) {
        if (bytes == NULL)
            out_of_memory();
        *length += fread(bytes + *length, 1, capacity - *length, file);
        if (*length < capacity)
            break;
        if (capacity > SIZE_MAX / 2)
            out_of_memory();
        capacity *= 2;
        char *moved = realloc(bytes, capacity);
        if (moved == NULL)
            out_of_memory();
        bytes = moved;
    }
    if (!ferror(file))
        return bytes;
    free(bytes);
    return NULL;
}

/* `path` is NULL for standard input. */
static bool answer_file(struct session *session, const char *path, struct list *collected)
{
    const char *name = path == NULL ? "stdin" : path;
    FILE *file = path == NULL ? stdin : fopen(path, "rb");
    size_t length;
    char *bytes = file == NULL ? NULL : read_all(file, &length);
    if (bytes == NULL) {
        fprintf(stderr, "jsonq: %s: %s\n", name, strerror(errno));
        session->exit_code = EXIT_USAGE;
    }
    if (file != NULL && path != NULL)
        fclose(file);
    if (bytes == NULL)
        return false;
    bool ok = answer_stream(session, name, bytes, length, collected);
    if (collected == NULL) /* collected values still point into the text */
        free(bytes);
    return ok;
}

static void answer_inputs(struct session *session, char **paths, int count)
{
    struct list collected = { 0 };
    struct list *collecting = session->options->slurp ? &collected : NULL;
    bool ok = true;
    if (count == 0)
        ok = answer_file(session, NULL, collecting);
    for (int i = 0; i < count && ok; i++)
        ok = answer_file(session, paths[i], collecting);
    if (!ok || collecting == NULL)
        return;
    const struct value *all = value_from_list(&session->arena, collected);
    if (all == NULL) {
        fprintf(stderr, "jsonq: more than %d arrays and objects in each other\n", DEPTH_LIMIT);
        session->exit_code = EXIT_DATA;
        return;
    }
    answer(session, all);
}

int main(int argc, char **argv)
{
    struct options options = { .style = JSON_PRETTY };
    int count = parse_options(argc, argv, &options);
    if (count < 1)
        return usage();
    const char *text = argv[0];

    struct arena filter_arena = { 0 };
    struct scanner scanner = scanner_over(text, strlen(text), &filter_arena);
    struct session session = { .options = &options, .filter = filter_parse(&scanner) };
    if (session.filter == NULL) {
        report_position("filter", &scanner);
        return EXIT_FILTER;
    }
    if (options.no_input)
        answer(&session, &json_null);
    else
        answer_inputs(&session, argv + 1, count - 1);

    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("jsonq: standard output");
        return EXIT_USAGE;
    }
    return session.exit_code;
}
