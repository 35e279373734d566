// wordfreq: how often each word occurs on standard input.

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#include "words.hpp"

namespace {

constexpr int exit_usage = 2;
constexpr int exit_io = 3;

struct Options {
    size_t top = 10;        // words to print; 0 for all
    size_t min_length = 1;  // in characters
    bool ignore_case = false;
};

int usage() {
    std::fputs("usage: wordfreq [-i] [-n TOP] [-l LENGTH]\n"
               "  -i         count words that differ in case as one, in small letters\n"
               "  -n TOP     print the TOP most frequent words, 0 for all (default 10)\n"
               "  -l LENGTH  count words of at least LENGTH characters (default 1)\n",
               stderr);
    return exit_usage;
}

bool parse_size(const char *option, const char *text, size_t &value) {
    char *end;
    errno = 0;
    unsigned long parsed = std::strtoul(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0') {
        std::fprintf(stderr, "wordfreq: %s %s: not a number\n", option, text);
        return false;
    }
    value = parsed;
    return true;
}

bool parse_options(int argc, char **argv, Options &options) {
    for (int i = 1; i < argc; i++) {
        const std::string option = argv[i];
        if (option == "-i") {
            options.ignore_case = true;
            continue;
        }
        if (option != "-n" && option != "-l") {
            std::fprintf(stderr, "wordfreq: unknown option %s\n", argv[i]);
            return false;
        }
        if (i + 1 == argc) {
            std::fprintf(stderr, "wordfreq: %s needs a number\n", argv[i]);
            return false;
        }
        if (!parse_size(argv[i], argv[i + 1], option == "-n" ? options.top : options.min_length))
            return false;
        i++;
    }
    return true;
}

using Counts = std::unordered_map<std::string, size_t>;

// False if standard input cannot be read to its end.
bool count_words(const Options &options, Counts &counts) {
    static unsigned char block[64 * 1024];
    wordfreq::Splitter splitter(options.ignore_case,
                                [&](const std::string &word, size_t characters) {
                                    if (characters >= options.min_length)
                                        counts[word]++;
                                });
    while (size_t count = std::fread(block, 1, sizeof block, stdin))
        splitter.feed(block, count);
    splitter.finish();
    return !std::ferror(stdin);
}

// The most frequent words first, equally frequent ones in byte order, so that
// the same text always gives the same output whatever order the table is in.
std::vector<const Counts::value_type *> most_frequent(const Counts &counts, size_t top) {
    std::vector<const Counts::value_type *> words;
    words.reserve(counts.size());
    for (const auto &entry : counts)
        words.push_back(&entry);
    size_t wanted = top == 0 ? words.size() : std::min(top, words.size());
    std::partial_sort(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(wanted),
                      words.end(), [](const auto *a, const auto *b) {
                          return a->second != b->second ? a->second > b->second
                                                        : a->first < b->first;
                      });
    words.resize(wanted);
    return words;
}

// Exceptions are off, so a failed allocation cannot be thrown; it ends here.
void out_of_memory() {
    std::fputs("wordfreq: out of memory\n", stderr);
    std::_Exit(exit_io);
}

}  // namespace

int main(int argc, char **argv) {
    std::set_new_handler(out_of_memory);

    Options options;
    if (!parse_options(argc, argv, options))
        return usage();
    Counts counts;
    if (!count_words(options, counts)) {
        std::perror("wordfreq: standard input");
        return exit_io;
    }
    for (const auto *entry : most_frequent(counts, options.top))
        std::printf("%7zu %s\n", entry->second, entry->first.c_str());
    if (std::fflush(stdout) != 0) {
        std::perror("wordfreq: standard output");
        return exit_io;
    }
    return 0;
}
