#include "filter_tokens.h"

#include <string.h>

static const struct operator operators[] = {
    /* Longer ones before the shorter ones they start with. */
    { "//", OP_ALTERNATIVE, LEVEL_ALTERNATIVE, RIGHT },
    { "==", OP_EQUAL, LEVEL_COMPARE, NEITHER },
    { "!=", OP_NOT_EQUAL, LEVEL_COMPARE, NEITHER },
    { "<=", OP_LESS_OR_EQUAL, LEVEL_COMPARE, NEITHER },
    { ">=", OP_GREATER_OR_EQUAL, LEVEL_COMPARE, NEITHER },
    { "<", OP_LESS, LEVEL_COMPARE, NEITHER },
    { ">", OP_GREATER, LEVEL_COMPARE, NEITHER },
    { "|", OP_PIPE, LEVEL_PIPE, RIGHT },
    { ",", OP_COMMA, LEVEL_COMMA, LEFT },
    { "+", OP_ADD, LEVEL_SUM, LEFT },
    { "-", OP_SUBTRACT, LEVEL_SUM, LEFT },
    { "*", OP_MULTIPLY, LEVEL_PRODUCT, LEFT },
    { "/", OP_DIVIDE, LEVEL_PRODUCT, LEFT },
    { "%", OP_REMAINDER, LEVEL_PRODUCT, LEFT },
    { "or", OP_OR, LEVEL_OR, LEFT },
    { "and", OP_AND, LEVEL_AND, LEFT },
};

enum { OPERATORS = sizeof operators / sizeof operators[0] };

unsigned char next_char(struct scanner *scanner)
{
    for (;;) {
        unsigned char c = scan_peek(scanner);
        if (c == '#') {
            while (scanner->at < scanner->end && *scanner->at != '\n')
                scanner->at++;
        } else if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
            scanner->at++;
        } else {
            return c;
        }
    }
}

bool take(struct scanner *scanner, char wanted)
{
    if (next_char(scanner) != (unsigned char)wanted)
        return false;
    scanner->at++;
    return true;
}

bool starts_name(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

struct text peek_name(const struct scanner *scanner)
{
    struct text name = { scanner->at, 0 };
    if (starts_name(scan_peek(scanner))) {
        const char *at = scanner->at;
        while (at < scanner->end && (starts_name((unsigned char)*at) || (*at >= '0' && *at <= '9')))
            at++;
        name.length = (size_t)(at - scanner->at);
    }
    return name;
}

bool is_word(struct text name, const char *word)
{
    return name.length == strlen(word) && memcmp(name.bytes, word, name.length) == 0;
}

const struct operator *peek_operator(struct scanner *scanner)
{
    next_char(scanner);
    struct text name = peek_name(scanner);
    for (int i = 0; i < OPERATORS; i++) {
        size_t length = strlen(operators[i].symbol);
        bool found = name.length > 0 ? is_word(name, operators[i].symbol)
                                     : (size_t)(scanner->end - scanner->at) >= length &&
                                           memcmp(scanner->at, operators[i].symbol, length) == 0;
        if (found)
            return &operators[i];
    }
    return NULL;
}
