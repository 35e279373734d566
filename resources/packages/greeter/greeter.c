// Greets whom its arguments name, in the language that LANG names, and keeps
// count of its guests in /var/guests.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 256 };

// The greeting of a language, by a line `LANGUAGE GREETING` of the file.
static int find_greeting(const char *language, char *greeting, size_t size) {
    FILE *file = fopen("/greetings.txt", "r");
    if (!file) {
        perror("greeter: /greetings.txt");
        return -1;
    }
    char line[LINE];
    int found = -1;
    while (found < 0 && fgets(line, sizeof line, file)) {
        char *blank = strchr(line, ' ');
        if (!blank || strncmp(language, line, (size_t)(blank - line))) continue;
        blank[strcspn(blank, "\n")] = 0;
        snprintf(greeting, size, "%s", blank + 1);
        found = 0;
    }
    fclose(file);
    return found;
}

static int note_guest(const char *name) {
    FILE *file = fopen("/var/guests", "a");
    if (!file || fprintf(file, "%s\n", name) < 0 || fclose(file)) {
        perror("greeter: /var/guests");
        return -1;
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *language = getenv("LANG");
    char greeting[LINE] = "Hello";
    if (find_greeting(language ? language : "en", greeting, sizeof greeting) < 0 && !language) return 1;
    const char *end = "!";
    for (int at = 1; at < argc; at++) {
        if (!strcmp(argv[at], "--calm")) {
            end = ".";
            continue;
        }
        printf("%s, %s%s\n", greeting, argv[at], end);
        if (note_guest(argv[at]) < 0) return 1;
    }
    return 0;
}
