/* SQL text as tokens. */

#ifndef MINIDB_LEXER_H
#define MINIDB_LEXER_H

#include "error.h"
#include "value.h"

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,     /* a bare word that is no keyword, or anything in "..." */
    TOKEN_KEYWORD,  /* a bare reserved word */
    TOKEN_LITERAL,  /* a number or a string, in `value` */
    TOKEN_SYMBOL,   /* an operator or a bracket */
};

struct token {
    enum token_kind kind;
    struct text text; /* names without their quotes */
    size_t offset;    /* in the statement */
    struct value value;
};

struct lexer {
    const char *start, *at, *end;
    struct arena *arena;
    struct error *error;
    struct token token; /* the current one */
    int nesting;        /* of the parser, whose recursion this bounds */
};

/* Starts at the first token. */
bool lexer_init(struct lexer *lexer, const char *sql, size_t length, struct arena *arena,
                struct error *error);

bool lexer_next(struct lexer *lexer);

/* Whether the current token is this keyword (in capitals) or symbol. */
bool token_is(const struct token *token, const char *text);

/* Finds the end of the first statement: the offset after its semicolon. False
 * if there is no semicolon outside of quotes and comments. */
bool find_statement_end(const char *sql, size_t length, size_t *end);

#endif
