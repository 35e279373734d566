/* Statements, by recursive descent: one function for each. */

#include <string.h>

#include "syntax.h"

bool fail_expected(struct lexer *lexer, const char *what)
{
    const struct token *token = &lexer->token;
    if (token->kind == TOKEN_END)
        return fail_sql(lexer->error, token->offset, "expected %s, found the end", what);
    /* Long tokens are cut, not inside a character. */
    size_t length = token->text.length < 40 ? token->text.length : 40;
    while (length > 0 && length < token->text.length &&
           ((unsigned char)token->text.bytes[length] & 0xc0) == 0x80)
        length--;
    return fail_sql(lexer->error, token->offset, "expected %s, found %.*s", what, (int)length,
                    token->text.bytes);
}

bool take_if(struct lexer *lexer, const char *text, bool *taken)
{
    *taken = token_is(&lexer->token, text);
    return !*taken || lexer_next(lexer);
}

bool take(struct lexer *lexer, const char *text)
{
    bool taken;
    return take_if(lexer, text, &taken) && (taken || fail_expected(lexer, text));
}

bool take_name(struct lexer *lexer, struct text *name)
{
    if (lexer->token.kind != TOKEN_NAME)
        return fail_expected(lexer, "a name");
    *name = lexer->token.text;
    return lexer_next(lexer);
}

static bool take_table(struct lexer *lexer, struct statement *statement)
{
    statement->table_offset = lexer->token.offset;
    return take_name(lexer, &statement->table);
}

static bool parse_where(struct lexer *lexer, struct statement *statement)
{
    bool taken;
    if (!take_if(lexer, "WHERE", &taken))
        return false;
    return !taken || (statement->where = parse_expression(lexer)) != NULL;
}

/* ---- CREATE, DROP --------------------------------------------------------- */

static bool parse_type(struct lexer *lexer, enum value_type *type)
{
    for (int candidate = VALUE_INTEGER; candidate <= VALUE_TEXT; candidate++) {
        const char *name = value_type_name((enum value_type)candidate);
        if (lexer->token.kind == TOKEN_NAME &&
            text_same_name(lexer->token.text, (struct text){ name, strlen(name) })) {
            *type = (enum value_type)candidate;
            return lexer_next(lexer);
        }
    }
    return fail_expected(lexer, "INTEGER, REAL or TEXT");
}

static bool parse_column(struct lexer *lexer, struct statement *statement)
{
    struct column column = { 0 };
    size_t offset = lexer->token.offset;
    bool taken;
    if (!take_name(lexer, &column.name) || !parse_type(lexer, &column.type))
        return false;
    for (;;) {
        size_t constraint = lexer->token.offset;
        if (!take_if(lexer, "PRIMARY", &taken))
            return false;
        if (taken) {
            if (!take(lexer, "KEY"))
                return false;
            if (column.type != VALUE_INTEGER)
                return fail_sql(lexer->error, constraint, "a primary key has to be an INTEGER");
            column.primary_key = true;
            continue;
        }
        if (!take_if(lexer, "NOT", &taken))
            return false;
        if (!taken)
            break;
        if (!take(lexer, "NULL"))
            return false;
        column.not_null = true;
    }
    if (statement->column_count == MAX_COLUMNS)
        return fail_sql(lexer->error, offset, "more than %d columns", MAX_COLUMNS);
    for (int i = 0; i < statement->column_count; i++) {
        if (text_same_name(statement->columns[i].name, column.name))
            return fail_sql(lexer->error, offset, "two columns of the same name");
        if (statement->columns[i].primary_key && column.primary_key)
            return fail_sql(lexer->error, offset, "two primary keys");
    }
    statement->columns[statement->column_count++] = column;
    return true;
}

static bool parse_create(struct lexer *lexer, struct statement *statement)
{
    const char *start = lexer->start;
    bool taken;
    statement->kind = STATEMENT_CREATE;
    if (!take(lexer, "TABLE") || !take_if(lexer, "IF", &statement->if_exists))
        return false;
    if (statement->if_exists && (!take(lexer, "NOT") || !take(lexer, "EXISTS")))
        return false;
    if (!take_table(lexer, statement) || !take(lexer, "("))
        return false;
    do {
        if (!parse_column(lexer, statement) || !take_if(lexer, ",", &taken))
            return false;
    } while (taken);
    /* The catalog keeps the statement up to here. */
    statement->text = (struct text){ start, lexer->token.offset + lexer->token.text.length };
    return take(lexer, ")");
}

static bool parse_drop(struct lexer *lexer, struct statement *statement)
{
    statement->kind = STATEMENT_DROP;
    if (!take(lexer, "TABLE") || !take_if(lexer, "IF", &statement->if_exists))
        return false;
    if (statement->if_exists && !take(lexer, "EXISTS"))
        return false;
    return take_table(lexer, statement);
}

/* ---- INSERT, UPDATE, DELETE ----------------------------------------------- */

static struct assignment *parse_assignment(struct lexer *lexer, bool with_value)
{
    struct assignment *assignment = arena_allocate(lexer->arena, 1, sizeof *assignment);
    memset(assignment, 0, sizeof *assignment);
    assignment->offset = lexer->token.offset;
    if (!take_name(lexer, &assignment->column))
        return NULL;
    if (with_value &&
        (!take(lexer, "=") || (assignment->value = parse_expression(lexer)) == NULL))
        return NULL;
    return assignment;
}

static bool parse_assignments(struct lexer *lexer, struct statement *statement, bool with_values)
{
    struct assignment **last = &statement->assignments;
    bool more = true;
    while (more) {
        *last = parse_assignment(lexer, with_values);
        if (*last == NULL)
            return false;
        for (const struct assignment *other = statement->assignments; other != *last;
             other = other->next) {
            if (text_same_name(other->column, (*last)->column))
                return fail_sql(lexer->error, (*last)->offset, "the same column twice");
        }
        if (!take_if(lexer, ",", &more))
            return false;
        last = &(*last)->next;
    }
    return true;
}

static bool parse_insert(struct lexer *lexer, struct statement *statement)
{
    struct row_of_expressions **last = &statement->rows;
    bool taken;
    statement->kind = STATEMENT_INSERT;
    if (!take(lexer, "INTO") || !take_table(lexer, statement) || !take_if(lexer, "(", &taken))
        return false;
    if (taken && (!parse_assignments(lexer, statement, false) || !take(lexer, ")")))
        return false;
    if (!take(lexer, "VALUES"))
        return false;
    do {
        struct row_of_expressions *row = arena_allocate(lexer->arena, 1, sizeof *row);
        row->offset = lexer->token.offset;
        row->next = NULL;
        if (!take(lexer, "(") || (row->values = parse_expression_list(lexer)) == NULL ||
            !take(lexer, ")") || !take_if(lexer, ",", &taken))
            return false;
        *last = row;
        last = &row->next;
    } while (taken);
    return true;
}

static bool parse_update(struct lexer *lexer, struct statement *statement)
{
    statement->kind = STATEMENT_UPDATE;
    return take_table(lexer, statement) && take(lexer, "SET") &&
           parse_assignments(lexer, statement, true) && parse_where(lexer, statement);
}

static bool parse_delete(struct lexer *lexer, struct statement *statement)
{
    statement->kind = STATEMENT_DELETE;
    return take(lexer, "FROM") && take_table(lexer, statement) && parse_where(lexer, statement);
}

/* ---- SELECT --------------------------------------------------------------- */

static bool parse_outputs(struct lexer *lexer, struct statement *statement)
{
    struct output_column **last = &statement->outputs;
    bool taken, more = true;
    while (more) {
        struct output_column *output = arena_allocate(lexer->arena, 1, sizeof *output);
        memset(output, 0, sizeof *output);
        if (!take_if(lexer, "*", &taken))
            return false;
        if (!taken) {
            output->expression = parse_expression(lexer);
            if (output->expression == NULL || !take_if(lexer, "AS", &taken) ||
                (taken && !take_name(lexer, &output->alias)))
                return false;
        }
        *last = output;
        last = &output->next;
        if (!take_if(lexer, ",", &more))
            return false;
    }
    return true;
}

static bool parse_orderings(struct lexer *lexer, struct statement *statement)
{
    struct ordering **last = &statement->orderings;
    bool taken, more = true;
    while (more) {
        struct ordering *ordering = arena_allocate(lexer->arena, 1, sizeof *ordering);
        memset(ordering, 0, sizeof *ordering);
        ordering->expression = parse_expression(lexer);
        if (ordering->expression == NULL || !take_if(lexer, "DESC", &ordering->descending))
            return false;
        if (!ordering->descending && !take_if(lexer, "ASC", &taken))
            return false;
        *last = ordering;
        last = &ordering->next;
        if (!take_if(lexer, ",", &more))
            return false;
    }
    return true;
}

static bool parse_select(struct lexer *lexer, struct statement *statement)
{
    bool taken;
    statement->kind = STATEMENT_SELECT;
    if (!parse_outputs(lexer, statement) || !take_if(lexer, "FROM", &taken))
        return false;
    if (taken && !take_table(lexer, statement))
        return false;
    if (!parse_where(lexer, statement) || !take_if(lexer, "ORDER", &taken))
        return false;
    if (taken && (!take(lexer, "BY") || !parse_orderings(lexer, statement)))
        return false;
    if (!take_if(lexer, "LIMIT", &taken))
        return false;
    if (!taken)
        return true;
    if ((statement->limit = parse_expression(lexer)) == NULL || !take_if(lexer, "OFFSET", &taken))
        return false;
    return !taken || (statement->offset = parse_expression(lexer)) != NULL;
}

/* ---- any statement -------------------------------------------------------- */

/* The word after BEGIN, COMMIT and ROLLBACK that says nothing. */
static bool parse_transaction(struct lexer *lexer, struct statement *statement)
{
    bool taken;
    return take_if(lexer, "TRANSACTION", &taken);
}

static bool parse_any(struct lexer *lexer, struct statement *statement)
{
    static const struct {
        const char *keyword;
        enum statement_kind kind; /* of those that are no more than a word or two */
        bool (*parse)(struct lexer *, struct statement *);
    } statements[] = {
        { "CREATE", STATEMENT_CREATE, parse_create },
        { "DROP", STATEMENT_DROP, parse_drop },
        { "INSERT", STATEMENT_INSERT, parse_insert },
        { "SELECT", STATEMENT_SELECT, parse_select },
        { "UPDATE", STATEMENT_UPDATE, parse_update },
        { "DELETE", STATEMENT_DELETE, parse_delete },
        { "BEGIN", STATEMENT_BEGIN, parse_transaction },
        { "COMMIT", STATEMENT_COMMIT, parse_transaction },
        { "ROLLBACK", STATEMENT_ROLLBACK, parse_transaction },
        { "VACUUM", STATEMENT_VACUUM, NULL },
    };
    if (lexer->token.kind == TOKEN_END || token_is(&lexer->token, ";"))
        return true;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        if (token_is(&lexer->token, statements[i].keyword)) {
            statement->kind = statements[i].kind;
            return lexer_next(lexer) &&
                   (statements[i].parse == NULL || statements[i].parse(lexer, statement));
        }
    }
    return fail_expected(lexer, "a statement");
}

struct statement *parse_statement(const char *sql, size_t length, struct arena *arena,
                                  struct error *error)
{
    struct lexer lexer;
    bool taken;
    struct statement *statement = arena_allocate(arena, 1, sizeof *statement);
    memset(statement, 0, sizeof *statement);
    if (!lexer_init(&lexer, sql, length, arena, error) || !parse_any(&lexer, statement) ||
        !take_if(&lexer, ";", &taken))
        return NULL;
    if (lexer.token.kind != TOKEN_END) {
        fail_expected(&lexer, "the end of the statement");
        return NULL;
    }
    return statement;
}
