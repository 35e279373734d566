#include "lexer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const keywords[] = {
    "AND",    "AS",    "ASC",     "BEGIN",  "BETWEEN", "BY",    "COMMIT", "CREATE", "DELETE",
    "DESC",   "DROP",  "EXISTS",  "FROM",   "IF",      "IN",    "INSERT", "INTO",   "IS",
    "KEY",    "LIKE",  "LIMIT",   "NOT",    "NULL",    "OFFSET", "OR",    "ORDER",  "PRIMARY",
    "ROLLBACK", "SELECT", "SET",  "TABLE",  "TRANSACTION", "UPDATE", "VACUUM", "VALUES", "WHERE",
};

static const char *const symbols[] = {
    "<=", ">=", "<>", "!=", "==", "||", "<", ">", "=", "+", "-", "*", "/", "%", "(", ")", ",", ";",
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Every byte of a character beyond ASCII may be part of a name. */
static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static size_t offset_of(const struct lexer *lexer, const char *at)
{
    return (size_t)(at - lexer->start);
}

/* Skips blanks, -- comments and slash-star comments. */
static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end) {
        if (strchr(" \t\r\n\f", *at) != NULL && *at != '\0') {
            at++;
        } else if (end - at >= 2 && at[0] == '-' && at[1] == '-') {
            while (at < end && *at != '\n')
                at++;
        } else if (end - at >= 2 && at[0] == '/' && at[1] == '*') {
            at += 2;
            while (end - at >= 2 && !(at[0] == '*' && at[1] == '/'))
                at++;
            at = end - at >= 2 ? at + 2 : end;
        } else {
            break;
        }
    }
    return at;
}

/* Behind the quote that closes the one at `at`; NULL if there is none. A quote
 * inside is written twice. */
static const char *skip_quoted(const char *at, const char *end)
{
    char quote = *at++;
    while (at < end) {
        if (*at++ != quote)
            continue;
        if (at == end || *at != quote)
            return at;
        at++;
    }
    return NULL;
}

bool find_statement_end(const char *sql, size_t length, size_t *statement_end)
{
    const char *at = sql, *end = sql + length;
    for (;;) {
        at = skip_blanks(at, end);
        if (at >= end)
            return false;
        if (*at == ';') {
            *statement_end = (size_t)(at + 1 - sql);
            return true;
        }
        at = *at == '\'' || *at == '"' ? skip_quoted(at, end) : at + 1;
        if (at == NULL)
            return false;
    }
}

/* ---- tokens --------------------------------------------------------------- */

static bool take_quoted(struct lexer *lexer, struct text *content)
{
    const char *opening = lexer->at;
    const char *end = skip_quoted(opening, lexer->end);
    if (end == NULL)
        return fail_sql(lexer->error, offset_of(lexer, opening), "%s without its closing quote",
                        *opening == '"' ? "name" : "string");
    char *bytes = arena_allocate(lexer->arena, (size_t)(end - opening), 1);
    size_t length = 0;
    for (const char *c = opening + 1; c < end - 1; c++) {
        bytes[length++] = *c;
        c += *c == *opening; /* the first of two quotes */
    }
    lexer->at = end;
    *content = (struct text){ bytes, length };
    return true;
}

static bool take_number(struct lexer *lexer)
{
    const char *start = lexer->at, *at = start;
    bool real = false;
    while (at < lexer->end && is_digit(*at))
        at++;
    if (at < lexer->end && *at == '.') {
        real = true;
        at++;
        while (at < lexer->end && is_digit(*at))
            at++;
    }
    if (at < lexer->end && (*at == 'e' || *at == 'E')) {
        const char *exponent = at + 1;
        if (exponent < lexer->end && (*exponent == '+' || *exponent == '-'))
            exponent++;
        if (exponent < lexer->end && is_digit(*exponent)) {
            real = true;
            for (at = exponent; at < lexer->end && is_digit(*at);)
                at++;
        }
    }
    if (at < lexer->end && is_name_start(*at))
        return fail_sql(lexer->error, offset_of(lexer, start), "malformed number");

    size_t length = (size_t)(at - start);
    char *digits = arena_allocate(lexer->arena, length + 1, 1);
    memcpy(digits, start, length);
    digits[length] = '\0';
    errno = 0;
    if (!real) {
        lexer->token.value = value_from_integer(strtoll(digits, NULL, 10));
        real = errno == ERANGE; /* too large for an integer */
    }
    if (real) {
        double value = strtod(digits, NULL);
        if (isinf(value))
            return fail_sql(lexer->error, offset_of(lexer, start), "number out of range");
        lexer->token.value = value_from_real(value);
    }
    lexer->token.kind = TOKEN_LITERAL;
    lexer->token.text = (struct text){ start, length };
    lexer->at = at;
    return true;
}

static void take_name(struct lexer *lexer)
{
    const char *start = lexer->at;
    while (lexer->at < lexer->end && (is_name_start(*lexer->at) || is_digit(*lexer->at)))
        lexer->at++;
    lexer->token.text = (struct text){ start, (size_t)(lexer->at - start) };
    lexer->token.kind = TOKEN_NAME;
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        struct text keyword = { keywords[i], strlen(keywords[i]) };
        if (text_same_name(lexer->token.text, keyword))
            lexer->token.kind = TOKEN_KEYWORD;
    }
}

static bool take_symbol(struct lexer *lexer)
{
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        size_t length = strlen(symbols[i]);
        if ((size_t)(lexer->end - lexer->at) >= length &&
            memcmp(lexer->at, symbols[i], length) == 0) {
            lexer->token.kind = TOKEN_SYMBOL;
            lexer->token.text = (struct text){ lexer->at, length };
            lexer->at += length;
            return true;
        }
    }
    return fail_sql(lexer->error, offset_of(lexer, lexer->at), "a character SQL does not use");
}

bool lexer_next(struct lexer *lexer)
{
    struct token *token = &lexer->token;
    lexer->at = skip_blanks(lexer->at, lexer->end);
    token->offset = offset_of(lexer, lexer->at);
    token->text = (struct text){ lexer->at, 0 };
    if (lexer->at == lexer->end) {
        token->kind = TOKEN_END;
        return true;
    }
    char c = *lexer->at;
    if (c == '\'') {
        token->kind = TOKEN_LITERAL;
        if (!take_quoted(lexer, &token->text))
            return false;
        token->value = value_from_text(token->text);
        return true;
    }
    if (c == '"') {
        token->kind = TOKEN_NAME;
        return take_quoted(lexer, &token->text);
    }
    if (is_digit(c) || (c == '.' && lexer->end - lexer->at >= 2 && is_digit(lexer->at[1])))
        return take_number(lexer);
    if (is_name_start(c)) {
        take_name(lexer);
        return true;
    }
    return take_symbol(lexer);
}

bool lexer_init(struct lexer *lexer, const char *sql, size_t length, struct arena *arena,
                struct error *error)
{
    memset(lexer, 0, sizeof *lexer);
    lexer->start = lexer->at = sql;
    lexer->end = sql + length;
    lexer->arena = arena;
    lexer->error = error;
    return lexer_next(lexer);
}

bool token_is(const struct token *token, const char *text)
{
    struct text wanted = { text, strlen(text) };
    if (token->kind == TOKEN_KEYWORD)
        return text_same_name(token->text, wanted);
    return token->kind == TOKEN_SYMBOL && text_compare(token->text, wanted) == 0;
}
