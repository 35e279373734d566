/* seek: prints the lines of files that match a pattern. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "search.h"

enum { EXIT_FOUND = 0, EXIT_NOT_FOUND = 1, EXIT_ERROR = 2, MAX_CONTEXT = 100000 };

struct command {
    struct syntax syntax;
    const char **patterns;
    int pattern_count;
    const char **files;
    int file_count;
};

static int usage(void)
{
    fputs("usage: seek [-Fivwnclo] [-A N] [-B N] [-e PATTERN]... [PATTERN] [FILE]...\n"
          "  -F          patterns are strings, not regular expressions\n"
          "  -i          ignore the case of ASCII letters\n"
          "  -v          select lines that do not match\n"
          "  -w          match whole words only\n"
          "  -n          print line numbers\n"
          "  -c          print how many lines were selected\n"
          "  -l          print the names of files with selected lines\n"
          "  -o          print each match instead of its line\n"
          "  -A N, -B N  print N lines of context after, before\n"
          "  -e PATTERN  search for this pattern; may be repeated\n",
          stderr);
    return EXIT_ERROR;
}

static bool parse_context(char option, const char *text, size_t *lines)
{
    char *end;
    errno = 0;
    unsigned long parsed = strtoul(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || parsed > MAX_CONTEXT) {
        fprintf(stderr, "seek: -%c %s: not a number from 0 to %d\n", option, text, MAX_CONTEXT);
        return false;
    }
    *lines = parsed;
    return true;
}

/* Of -o, -c and -l the one that prints least decides, as in grep. */
static void print_no_more_than(struct search *search, enum output output)
{
    if (search->output < output)
        search->output = output;
}

/* One argument of options: letters, of which the last may take the rest of the
 * argument, or the next one, as its value. Returns how many arguments were
 * used; 0 on an error. */
static int parse_letters(const char *letters, const char *next, struct search *search,
                         struct command *command)
{
    for (const char *letter = letters; *letter != '\0'; letter++) {
        const char *value = letter[1] != '\0' ? letter + 1 : next;
        switch (*letter) {
        case 'F': command->syntax.fixed = true; break;
        case 'i': command->syntax.ignore_case = true; break;
        case 'w': command->syntax.whole_words = true; break;
        case 'v': search->invert = true; break;
        case 'n': search->line_numbers = true; break;
        case 'o': print_no_more_than(search, PRINT_MATCHES); break;
        case 'c': print_no_more_than(search, PRINT_COUNT); break;
        case 'l': print_no_more_than(search, PRINT_NAME); break;
        case 'A':
        case 'B':
        case 'e':
            if (value == NULL) {
                fprintf(stderr, "seek: -%c needs a value\n", *letter);
                return 0;
            }
            if (*letter == 'e')
                command->patterns[command->pattern_count++] = value;
            else if (!parse_context(*letter, value,
                                    *letter == 'A' ? &search->after : &search->before))
                return 0;
            return letter[1] != '\0' ? 1 : 2;
        default:
            fprintf(stderr, "seek: unknown option -%c\n", *letter);
            return 0;
        }
    }
    return 1;
}

static bool parse_arguments(int argc, char **argv, struct search *search, struct command *command)
{
    bool options = true;
    command->patterns = allocate(NULL, (size_t)argc, sizeof *command->patterns);
    command->files = allocate(NULL, (size_t)argc, sizeof *command->files);
    for (int i = 1; i < argc;) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
            i++;
        } else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
            int used = parse_letters(argv[i] + 1, i + 1 < argc ? argv[i + 1] : NULL, search,
                                     command);
            if (used == 0)
                return false;
            i += used;
        } else {
            command->files[command->file_count++] = argv[i++];
        }
    }
    if (command->pattern_count > 0)
        return true;
    if (command->file_count == 0) {
        fputs("seek: no pattern\n", stderr);
        return false;
    }
    command->patterns[command->pattern_count++] = *command->files++;
    command->file_count--;
    return true;
}

static bool compile_patterns(const struct command *command, struct program *program)
{
    program_init(program);
    for (int i = 0; i < command->pattern_count; i++) {
        struct pattern_error error = { 0 };
        struct node *pattern = pattern_parse(command->patterns[i], command->syntax, &error);
        if (pattern == NULL) {
            fprintf(stderr, "seek: pattern %d, column %zu: %s\n", i + 1, error.column,
                    error.message);
            return false;
        }
        bool fits = program_add(program, pattern);
        pattern_free(pattern);
        if (!fits) {
            fprintf(stderr, "seek: pattern %d: too large\n", i + 1);
            return false;
        }
    }
    return true;
}

/* `path` is "-" for standard input. False if it could not be searched. */
static bool search_path(struct search *search, const char *path, bool *selected)
{
    bool is_input = strcmp(path, "-") == 0;
    const char *name = is_input ? "(standard input)" : path;
    int descriptor = is_input ? STDIN_FILENO : open(path, O_RDONLY);
    bool searched = descriptor != -1 && search_file(search, descriptor, name, selected);
    if (!searched)
        fprintf(stderr, "seek: %s: %s\n", name, strerror(errno));
    if (descriptor > STDIN_FILENO)
        close(descriptor);
    return searched;
}

int main(int argc, char **argv)
{
    struct search search = { 0 };
    struct command command = { 0 };
    struct program program;
    if (!parse_arguments(argc, argv, &search, &command))
        return usage();
    if (!compile_patterns(&command, &program))
        return EXIT_ERROR;
    search.automaton = automaton_new(&program);
    search.finder = finder_new(&program);
    search.names = command.file_count > 1;
    if (command.file_count == 0)
        command.files[command.file_count++] = "-";

    bool found = false, failed = false;
    for (int i = 0; i < command.file_count; i++) {
        bool selected = false;
        if (!search_path(&search, command.files[i], &selected))
            failed = true;
        found = found || selected;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("seek: standard output");
        return EXIT_ERROR;
    }
    return failed ? EXIT_ERROR : found ? EXIT_FOUND : EXIT_NOT_FOUND;
}
