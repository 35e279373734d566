/* Splits a JSON text into tokens: a loop around a switch, as in every parser
 * and interpreter. */

#include "kernels.h"

static const char text[] =
    "{\"id\": 4711, \"name\": \"heart\", \"tags\": [\"organ\", \"muscle\", \"left\\u00e9\"],\n"
    " \"rate\": {\"rest\": 62.5, \"peak\": 1.85e2, \"drift\": -0.25}, \"alive\": true,\n"
    " \"log\": [{\"t\": 0, \"v\": null}, {\"t\": 1, \"v\": false}, {\"t\": 2, \"v\": [1, 2, [3]]}],\n"
    " \"note\": \"quotes \\\"inside\\\" and a back\\\\slash\"}\n";

enum { TEXT_BYTES = sizeof text - 1 };

enum token { END, PUNCTUATION, STRING, NUMBER, WORD, BAD };

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int is_number_part(char c)
{
    return is_digit(c) || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-';
}

/* Returns the token at *at and moves *at past it. The text's own terminating
 * zero stops every inner loop. */
static enum token next_token(const char **at)
{
    const char *c = *at;
    enum token token;
    while (*c == ' ' || *c == '\n' || *c == '\t' || *c == '\r')
        c++;
    switch (*c) {
    case '\0':
        token = END;
        break;
    case '{': case '}': case '[': case ']': case ':': case ',':
        c++;
        token = PUNCTUATION;
        break;
    case '"':
        c++;
        while (*c != '"' && *c != '\0')
            c += c[0] == '\\' && c[1] != '\0' ? 2 : 1;
        token = *c == '"' ? STRING : BAD;
        c += *c == '"';
        break;
    default:
        if (*c == '-' || is_digit(*c)) {
            while (is_number_part(*c))
                c++;
            token = NUMBER;
        } else if (*c >= 'a' && *c <= 'z') {
            while (*c >= 'a' && *c <= 'z')
                c++;
            token = WORD;
        } else {
            c++;
            token = BAD;
        }
    }
    *at = c;
    return token;
}

long long tokens(int n)
{
    uint64_t checksum = 0;
    for (int i = 0; i < n; i++) {
        /* Each round starts a byte further on, sometimes inside a token. */
        const char *at = text + i % TEXT_BYTES;
        int depth = 0;
        enum token token;
        do {
            const char *start = at;
            token = next_token(&at);
            depth += token == PUNCTUATION && (at[-1] == '{' || at[-1] == '[');
            depth -= token == PUNCTUATION && (at[-1] == '}' || at[-1] == ']');
            checksum = fold(checksum, (uint64_t)token << 32 | (uint32_t)(at - start) << 8);
            checksum = fold(checksum, (uint64_t)(int64_t)depth);
        } while (token != END);
    }
    return (long long)checksum;
}
