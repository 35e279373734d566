/* Expressions, by precedence climbing. From the loosest binding:
 *
 *   OR;  AND;  NOT;  comparisons, LIKE, IN, BETWEEN, IS;  + - ;  * / % ;  || ;  sign
 */

#include <string.h>

#include "syntax.h"

enum level {
    LEVEL_OR = 1,
    LEVEL_AND,
    LEVEL_NOT,
    LEVEL_COMPARISON,
    LEVEL_SUM,
    LEVEL_PRODUCT,
    LEVEL_CONCATENATION,
    LEVEL_SIGN, /* above every operator */
};

static const struct operator {
    const char *text;
    enum expression_kind kind;
    enum level level;
} operators[] = {
    { "OR", EXPRESSION_OR, LEVEL_OR },
    { "AND", EXPRESSION_AND, LEVEL_AND },
    { "=", EXPRESSION_EQUAL, LEVEL_COMPARISON },
    { "==", EXPRESSION_EQUAL, LEVEL_COMPARISON },
    { "<>", EXPRESSION_NOT_EQUAL, LEVEL_COMPARISON },
    { "!=", EXPRESSION_NOT_EQUAL, LEVEL_COMPARISON },
    { "<", EXPRESSION_LESS, LEVEL_COMPARISON },
    { "<=", EXPRESSION_LESS_OR_EQUAL, LEVEL_COMPARISON },
    { ">", EXPRESSION_GREATER, LEVEL_COMPARISON },
    { ">=", EXPRESSION_GREATER_OR_EQUAL, LEVEL_COMPARISON },
    { "LIKE", EXPRESSION_LIKE, LEVEL_COMPARISON },
    { "+", EXPRESSION_ADD, LEVEL_SUM },
    { "-", EXPRESSION_SUBTRACT, LEVEL_SUM },
    { "*", EXPRESSION_MULTIPLY, LEVEL_PRODUCT },
    { "/", EXPRESSION_DIVIDE, LEVEL_PRODUCT },
    { "%", EXPRESSION_REMAINDER, LEVEL_PRODUCT },
    { "||", EXPRESSION_CONCATENATE, LEVEL_CONCATENATION },
};

static const struct {
    const char *name;
    enum expression_kind kind;
    int which;
} functions[] = {
    { "ABS", EXPRESSION_FUNCTION, FUNCTION_ABS },
    { "LENGTH", EXPRESSION_FUNCTION, FUNCTION_LENGTH },
    { "LOWER", EXPRESSION_FUNCTION, FUNCTION_LOWER },
    { "UPPER", EXPRESSION_FUNCTION, FUNCTION_UPPER },
    { "COUNT", EXPRESSION_AGGREGATE, AGGREGATE_COUNT },
    { "SUM", EXPRESSION_AGGREGATE, AGGREGATE_SUM },
    { "MIN", EXPRESSION_AGGREGATE, AGGREGATE_MIN },
    { "MAX", EXPRESSION_AGGREGATE, AGGREGATE_MAX },
    { "AVG", EXPRESSION_AGGREGATE, AGGREGATE_AVG },
};

static struct expression *parse(struct lexer *lexer, enum level lowest);

static struct expression *new_expression(struct lexer *lexer, enum expression_kind kind,
                                         size_t offset, struct expression *left,
                                         struct expression *right)
{
    int left_depth = left == NULL ? 0 : left->depth, right_depth = right == NULL ? 0 : right->depth;
    int deepest = left_depth > right_depth ? left_depth : right_depth;
    if (deepest >= MAX_EXPRESSION_DEPTH) {
        fail_sql(lexer->error, offset, "the expression is nested too deeply");
        return NULL;
    }
    struct expression *expression = arena_allocate(lexer->arena, 1, sizeof *expression);
    memset(expression, 0, sizeof *expression);
    expression->kind = kind;
    expression->depth = deepest + 1;
    expression->offset = offset;
    expression->left = left;
    expression->right = right;
    return expression;
}

static struct expression *parse_call(struct lexer *lexer, struct text name, size_t offset)
{
    struct expression *argument = NULL;
    bool star;
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        struct text known = { functions[i].name, strlen(functions[i].name) };
        if (!text_same_name(name, known))
            continue;
        if (!take_if(lexer, "*", &star))
            return NULL;
        bool counts_rows = functions[i].kind == EXPRESSION_AGGREGATE &&
                           functions[i].which == AGGREGATE_COUNT;
        if (star && !counts_rows) {
            fail_sql(lexer->error, offset, "only COUNT takes *");
            return NULL;
        }
        if (!star && (argument = parse(lexer, LEVEL_OR)) == NULL)
            return NULL;
        if (!take(lexer, ")"))
            return NULL;
        struct expression *call = new_expression(lexer, functions[i].kind, offset, argument, NULL);
        if (call == NULL)
            return NULL;
        if (functions[i].kind == EXPRESSION_FUNCTION)
            call->function = (enum function)functions[i].which;
        else
            call->aggregate = (enum aggregate)functions[i].which;
        return call;
    }
    int shown = name.length < 40 ? (int)name.length : 40;
    fail_sql(lexer->error, offset, "no such function: %.*s", shown, name.bytes);
    return NULL;
}

static struct expression *parse_name(struct lexer *lexer)
{
    struct text name;
    size_t offset = lexer->token.offset;
    bool call;
    if (!take_name(lexer, &name) || !take_if(lexer, "(", &call))
        return NULL;
    if (call)
        return parse_call(lexer, name, offset);
    struct expression *column = new_expression(lexer, EXPRESSION_COLUMN, offset, NULL, NULL);
    column->name = name;
    return column;
}

static struct expression *parse_operand(struct lexer *lexer)
{
    size_t offset = lexer->token.offset;
    bool taken;
    if (lexer->token.kind == TOKEN_LITERAL) {
        struct expression *literal = new_expression(lexer, EXPRESSION_LITERAL, offset, NULL, NULL);
        literal->literal = lexer->token.value;
        return lexer_next(lexer) ? literal : NULL;
    }
    if (lexer->token.kind == TOKEN_NAME)
        return parse_name(lexer);
    if (!take_if(lexer, "NULL", &taken))
        return NULL;
    if (taken)
        return new_expression(lexer, EXPRESSION_LITERAL, offset, NULL, NULL);
    if (!take_if(lexer, "(", &taken))
        return NULL;
    if (taken) {
        struct expression *inside = parse(lexer, LEVEL_OR);
        return inside != NULL && take(lexer, ")") ? inside : NULL;
    }
    if (!take_if(lexer, "-", &taken))
        return NULL;
    if (taken) {
        struct expression *operand = parse(lexer, LEVEL_SIGN);
        return operand == NULL ? NULL
                               : new_expression(lexer, EXPRESSION_NEGATE, offset, operand, NULL);
    }
    if (!take_if(lexer, "NOT", &taken))
        return NULL;
    if (taken) {
        struct expression *operand = parse(lexer, LEVEL_COMPARISON);
        return operand == NULL ? NULL
                               : new_expression(lexer, EXPRESSION_NOT, offset, operand, NULL);
    }
    fail_expected(lexer, "an expression");
    return NULL;
}

/* x BETWEEN a AND b is x >= a AND x <= b. */
static struct expression *parse_between(struct lexer *lexer, struct expression *left,
                                        size_t offset)
{
    struct expression *low = parse(lexer, LEVEL_SUM);
    if (low == NULL || !take(lexer, "AND"))
        return NULL;
    struct expression *high = parse(lexer, LEVEL_SUM);
    if (high == NULL)
        return NULL;
    struct expression *from = new_expression(lexer, EXPRESSION_GREATER_OR_EQUAL, offset, left, low);
    struct expression *to = new_expression(lexer, EXPRESSION_LESS_OR_EQUAL, offset, left, high);
    return from == NULL || to == NULL ? NULL
                                      : new_expression(lexer, EXPRESSION_AND, offset, from, to);
}

static struct expression *parse_in(struct lexer *lexer, struct expression *left, size_t offset)
{
    struct expression *in = new_expression(lexer, EXPRESSION_IN, offset, left, NULL);
    if (in == NULL || !take(lexer, "("))
        return NULL;
    in->items = parse_expression_list(lexer);
    if (in->items == NULL || !take(lexer, ")"))
        return NULL;
    for (const struct expression *item = in->items; item != NULL; item = item->next) {
        if (item->depth >= in->depth)
            in->depth = item->depth + 1;
    }
    if (in->depth > MAX_EXPRESSION_DEPTH) {
        fail_sql(lexer->error, offset, "the expression is nested too deeply");
        return NULL;
    }
    return in;
}

/* The comparisons that are words: [NOT] BETWEEN, [NOT] IN, [NOT] LIKE, IS [NOT]
 * NULL. `*matched` is false if none of them comes next. */
static struct expression *parse_word_comparison(struct lexer *lexer, struct expression *left,
                                                bool *matched)
{
    size_t offset = lexer->token.offset;
    struct expression *result = NULL;
    bool negated, taken;
    *matched = true;
    if (!take_if(lexer, "IS", &taken))
        return NULL;
    if (taken) {
        if (!take_if(lexer, "NOT", &negated) || !take(lexer, "NULL"))
            return NULL;
        result = new_expression(lexer, EXPRESSION_IS_NULL, offset, left, NULL);
    } else {
        if (!take_if(lexer, "NOT", &negated) || !take_if(lexer, "BETWEEN", &taken))
            return NULL;
        if (taken) {
            result = parse_between(lexer, left, offset);
        } else {
            if (!take_if(lexer, "IN", &taken))
                return NULL;
            if (taken) {
                result = parse_in(lexer, left, offset);
            } else if (negated) { /* LIKE alone is an operator as any other */
                if (!take(lexer, "LIKE"))
                    return NULL;
                struct expression *right = parse(lexer, LEVEL_SUM);
                if (right != NULL)
                    result = new_expression(lexer, EXPRESSION_LIKE, offset, left, right);
            } else {
                *matched = false;
                return left;
            }
        }
    }
    if (result != NULL && negated)
        result = new_expression(lexer, EXPRESSION_NOT, offset, result, NULL);
    return result;
}

static const struct operator *peek_operator(const struct lexer *lexer)
{
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (token_is(&lexer->token, operators[i].text))
            return &operators[i];
    }
    return NULL;
}

static struct expression *parse_operators(struct lexer *lexer, enum level lowest)
{
    struct expression *left = parse_operand(lexer);
    while (left != NULL) {
        const struct operator *operator = peek_operator(lexer);
        size_t offset = lexer->token.offset;
        if (operator == NULL) {
            bool matched = false;
            if (lowest <= LEVEL_COMPARISON)
                left = parse_word_comparison(lexer, left, &matched);
            if (!matched)
                return left;
            continue;
        }
        if (operator->level < lowest)
            return left;
        if (!lexer_next(lexer))
            return NULL;
        struct expression *right = parse(lexer, operator->level + 1);
        left = right == NULL ? NULL : new_expression(lexer, operator->kind, offset, left, right);
    }
    return NULL;
}

/* All recursion goes through here. */
static struct expression *parse(struct lexer *lexer, enum level lowest)
{
    if (lexer->nesting == MAX_EXPRESSION_DEPTH) {
        fail_sql(lexer->error, lexer->token.offset, "the expression is nested too deeply");
        return NULL;
    }
    lexer->nesting++;
    struct expression *expression = parse_operators(lexer, lowest);
    lexer->nesting--;
    return expression;
}

struct expression *parse_expression(struct lexer *lexer)
{
    return parse(lexer, LEVEL_OR);
}

struct expression *parse_expression_list(struct lexer *lexer)
{
    struct expression *first = NULL, **last = &first;
    bool more = true;
    while (more) {
        *last = parse_expression(lexer);
        if (*last == NULL || !take_if(lexer, ",", &more))
            return NULL;
        last = &(*last)->next;
    }
    return first;
}
