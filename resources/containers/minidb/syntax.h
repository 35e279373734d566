/* Statements and expressions as trees. */

#ifndef MINIDB_SYNTAX_H
#define MINIDB_SYNTAX_H

#include "lexer.h"

enum { MAX_COLUMNS = 100, MAX_EXPRESSION_DEPTH = 100 };

/* ---- expressions ---------------------------------------------------------- */

enum expression_kind {
    EXPRESSION_LITERAL,
    EXPRESSION_COLUMN,
    EXPRESSION_NEGATE,
    EXPRESSION_NOT,
    EXPRESSION_AND,
    EXPRESSION_OR,
    EXPRESSION_EQUAL,
    EXPRESSION_NOT_EQUAL,
    EXPRESSION_LESS,
    EXPRESSION_LESS_OR_EQUAL,
    EXPRESSION_GREATER,
    EXPRESSION_GREATER_OR_EQUAL,
    EXPRESSION_ADD,
    EXPRESSION_SUBTRACT,
    EXPRESSION_MULTIPLY,
    EXPRESSION_DIVIDE,
    EXPRESSION_REMAINDER,
    EXPRESSION_CONCATENATE,
    EXPRESSION_LIKE,
    EXPRESSION_IN,        /* left IN (the items) */
    EXPRESSION_IS_NULL,
    EXPRESSION_FUNCTION,  /* of left */
    EXPRESSION_AGGREGATE, /* of left in all rows; of the rows themselves without left */
};

enum function { FUNCTION_ABS, FUNCTION_LENGTH, FUNCTION_LOWER, FUNCTION_UPPER };

enum aggregate { AGGREGATE_COUNT, AGGREGATE_SUM, AGGREGATE_MIN, AGGREGATE_MAX, AGGREGATE_AVG };

struct expression {
    enum expression_kind kind;
    int depth;     /* of the tree below, at most MAX_EXPRESSION_DEPTH */
    size_t offset; /* in the statement */
    struct expression *left, *right;
    struct expression *next; /* in a list of expressions */
    struct expression *items;
    struct value literal;
    struct text name; /* of a column */
    int column;       /* its number, once resolved */
    enum function function;
    enum aggregate aggregate;
    struct aggregate_state *state; /* set up by whoever runs over the rows */
};

/* ---- statements ----------------------------------------------------------- */

enum statement_kind {
    STATEMENT_EMPTY, /* nothing but a semicolon */
    STATEMENT_CREATE,
    STATEMENT_DROP,
    STATEMENT_INSERT,
    STATEMENT_SELECT,
    STATEMENT_UPDATE,
    STATEMENT_DELETE,
    STATEMENT_BEGIN,
    STATEMENT_COMMIT,
    STATEMENT_ROLLBACK,
    STATEMENT_VACUUM,
};

struct column {
    struct text name;
    enum value_type type;
    bool primary_key; /* INTEGER PRIMARY KEY: the rowid itself */
    bool not_null;
};

/* A column by name: in INSERT's list, and with its new value in UPDATE's. */
struct assignment {
    struct text column;
    size_t offset;
    struct expression *value;
    struct assignment *next;
};

struct row_of_expressions {
    struct expression *values;
    size_t offset;
    struct row_of_expressions *next;
};

struct output_column {
    struct expression *expression; /* NULL for * */
    struct text alias;
    struct output_column *next;
};

struct ordering {
    struct expression *expression;
    bool descending;
    struct ordering *next;
};

struct statement {
    enum statement_kind kind;
    struct text table;
    size_t table_offset;
    bool if_exists;   /* or IF NOT EXISTS */
    struct text text; /* of CREATE TABLE, as the catalog keeps it */
    struct column columns[MAX_COLUMNS];
    int column_count;
    struct assignment *assignments;
    struct row_of_expressions *rows;
    struct output_column *outputs;
    struct expression *where;
    struct ordering *orderings;
    struct expression *limit, *offset;
};

/* Reads one statement with or without its semicolon. NULL after an error. */
struct statement *parse_statement(const char *sql, size_t length, struct arena *arena,
                                  struct error *error);

/* The expression at the lexer's place; what follows is left. NULL after an error. */
struct expression *parse_expression(struct lexer *lexer);

/* expression, expression, ... */
struct expression *parse_expression_list(struct lexer *lexer);

/* ---- for both parsers ----------------------------------------------------- */

/* Skips a keyword or symbol if it is next; `*taken` says so. False only if what
 * follows it is no token. */
bool take_if(struct lexer *lexer, const char *text, bool *taken);

/* Skips a keyword or symbol that has to be next. */
bool take(struct lexer *lexer, const char *text);

bool take_name(struct lexer *lexer, struct text *name);

/* Fails at the current token: "expected WHAT, found ...". */
bool fail_expected(struct lexer *lexer, const char *what);

#endif
