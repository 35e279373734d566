/* The grammar of filters, by precedence climbing:
 *
 *   filter   = operand (operator operand)*       with the precedences below
 *   operand  = "-" operand | term
 *   term     = primary suffix*
 *   suffix   = .name | ."text" | [] | [filter] | [filter:filter] | ?
 *   primary  = . | literal | (filter) | [filter] | {entries} | name | name(filter; filter)
 */

#include <string.h>

#include "filter.h"
#include "filter_tokens.h"

struct parser {
    struct scanner *scanner;
    unsigned nesting; /* brackets open around the current place */
};

static const struct filter *fail(struct parser *parser, const char *error)
{
    scan_error(parser->scanner, parser->scanner->at, error);
    return NULL;
}

static const struct filter *parse_filter(struct parser *parser, unsigned lowest);

/* ---- nodes ---------------------------------------------------------------- */

static unsigned depth_of(const struct filter *filter)
{
    return filter == NULL ? 0 : filter->depth;
}

static struct filter *new_filter(struct parser *parser, enum operation operation,
                                 const struct filter *left, const struct filter *right)
{
    unsigned deepest = depth_of(left) > depth_of(right) ? depth_of(left) : depth_of(right);
    if (deepest >= DEPTH_LIMIT) {
        fail(parser, "more than 256 filters in each other");
        return NULL;
    }
    struct filter *filter = arena_allocate(parser->scanner->arena, 1, sizeof *filter);
    memset(filter, 0, sizeof *filter);
    filter->operation = operation;
    filter->depth = deepest + 1;
    filter->left = left;
    filter->right = right;
    return filter;
}

static const struct filter *new_literal(struct parser *parser, const struct value *value)
{
    struct filter *filter = new_filter(parser, OP_LITERAL, NULL, NULL);
    filter->literal = value;
    return filter;
}

static const struct filter *new_text(struct parser *parser, struct text text)
{
    return new_literal(parser, value_from_text(parser->scanner->arena, text));
}

/* ---- terms ---------------------------------------------------------------- */

static const struct filter *parse_string(struct parser *parser)
{
    struct text string;
    return scan_string(parser->scanner, &string) ? new_text(parser, string) : NULL;
}

/* A filter inside brackets whose opening one has been read. */
static const struct filter *parse_inside(struct parser *parser)
{
    if (parser->nesting == DEPTH_LIMIT)
        return fail(parser, "more than 256 brackets in each other");
    parser->nesting++;
    const struct filter *filter = parse_filter(parser, LEVEL_PIPE);
    parser->nesting--;
    return filter;
}

static const struct filter *parse_call(struct parser *parser, struct text name)
{
    struct scanner *scanner = parser->scanner;
    const struct filter *arguments[2] = { NULL, NULL };
    unsigned arity = 0;
    scanner->at += name.length;
    if (is_word(name, "null"))
        return new_literal(parser, &json_null);
    if (is_word(name, "true"))
        return new_literal(parser, &json_true);
    if (is_word(name, "false"))
        return new_literal(parser, &json_false);
    if (take(parser->scanner, '(')) {
        do {
            if (arity == 2)
                return fail(parser, "no function takes more than two arguments");
            arguments[arity] = parse_inside(parser);
            if (arguments[arity++] == NULL)
                return NULL;
        } while (take(parser->scanner, ';'));
        if (!take(parser->scanner, ')'))
            return fail(parser, "expected ')' after the arguments");
    }
    const struct builtin *function = builtin_find(name, arity);
    if (function == NULL) {
        scanner->at = name.bytes;
        return fail(parser, "no function of that name with that many arguments");
    }
    struct filter *call = new_filter(parser, OP_CALL, arguments[0], arguments[1]);
    if (call != NULL)
        call->function = function;
    return call;
}

/* name, "text" or (filter): the part of an entry before the colon. */
static const struct filter *parse_key(struct parser *parser, struct text *name)
{
    unsigned char next = next_char(parser->scanner);
    *name = peek_name(parser->scanner);
    if (name->length > 0) {
        parser->scanner->at += name->length;
        return new_text(parser, *name);
    }
    if (next == '"') {
        const struct filter *key = parse_string(parser);
        if (key != NULL)
            *name = key->literal->string;
        return key;
    }
    if (!take(parser->scanner, '('))
        return fail(parser, "expected a key: name, \"text\" or (filter)");
    const struct filter *key = parse_inside(parser);
    if (key != NULL && !take(parser->scanner, ')'))
        return fail(parser, "expected ')' after a key");
    return key;
}

static const struct filter *parse_object(struct parser *parser)
{
    const struct entry *entries = NULL, **last = &entries;
    unsigned deepest = 0;
    if (parser->nesting == DEPTH_LIMIT)
        return fail(parser, "more than 256 brackets in each other");
    parser->nesting++;
    bool more = !take(parser->scanner, '}');
    while (more) {
        struct entry *entry = arena_allocate(parser->scanner->arena, 1, sizeof *entry);
        struct text name;
        entry->key = parse_key(parser, &name);
        if (entry->key == NULL)
            return NULL;
        if (take(parser->scanner, ':')) {
            entry->value = parse_filter(parser, LEVEL_ALTERNATIVE);
        } else if (entry->key->operation == OP_LITERAL) { /* {name} is {name: .name} */
            const struct filter *here = new_filter(parser, OP_IDENTITY, NULL, NULL);
            entry->value = new_filter(parser, OP_INDEX, here, entry->key);
        } else {
            return fail(parser, "expected ':' after a key");
        }
        if (entry->value == NULL)
            return NULL;
        if (depth_of(entry->key) > deepest)
            deepest = depth_of(entry->key);
        if (depth_of(entry->value) > deepest)
            deepest = depth_of(entry->value);
        entry->next = NULL;
        *last = entry;
        last = &entry->next;
        more = take(parser->scanner, ',');
        if (!more && !take(parser->scanner, '}'))
            return fail(parser, "expected ',' or '}' after an entry");
    }
    parser->nesting--;
    if (deepest >= DEPTH_LIMIT)
        return fail(parser, "more than 256 filters in each other");
    struct filter *filter = new_filter(parser, OP_OBJECT, NULL, NULL);
    filter->depth = deepest + 1;
    filter->entries = entries;
    return filter;
}

static const struct filter *parse_array(struct parser *parser)
{
    const struct filter *inside = NULL;
    if (!take(parser->scanner, ']')) {
        inside = parse_inside(parser);
        if (inside == NULL)
            return NULL;
        if (!take(parser->scanner, ']'))
            return fail(parser, "expected ']' after the items");
    }
    return new_filter(parser, OP_ARRAY, inside, NULL);
}

static const struct filter *parse_primary(struct parser *parser)
{
    struct scanner *scanner = parser->scanner;
    unsigned char next = next_char(parser->scanner);
    struct text name = peek_name(scanner);
    if (name.length > 0)
        return parse_call(parser, name);
    if (next >= '0' && next <= '9') {
        const struct value *number;
        return scan_number(scanner, &number) ? new_literal(parser, number) : NULL;
    }
    switch (next) {
    case '"':
        return parse_string(parser);
    case '.':
        /* The suffixes .name and ."text" bring their own dot. */
        if (scanner->at + 1 < scanner->end &&
            (starts_name((unsigned char)scanner->at[1]) || scanner->at[1] == '"'))
            return new_filter(parser, OP_IDENTITY, NULL, NULL);
        scanner->at++;
        return new_filter(parser, OP_IDENTITY, NULL, NULL);
    case '(': {
        scanner->at++;
        const struct filter *inside = parse_inside(parser);
        if (inside != NULL && !take(parser->scanner, ')'))
            return fail(parser, "expected ')'");
        return inside;
    }
    case '[':
        scanner->at++;
        return parse_array(parser);
    case '{':
        scanner->at++;
        return parse_object(parser);
    default:
        return fail(parser, scanner->at == scanner->end ? "the filter ends where a term is expected"
                                                        : "expected a term");
    }
}

/* What follows `left[`. */
static const struct filter *parse_bracket_suffix(struct parser *parser, const struct filter *left)
{
    const struct filter *from = NULL, *to = NULL;
    if (take(parser->scanner, ']'))
        return new_filter(parser, OP_ITERATE, left, NULL);
    if (next_char(parser->scanner) != ':') {
        from = parse_inside(parser);
        if (from == NULL)
            return NULL;
        if (take(parser->scanner, ']'))
            return new_filter(parser, OP_INDEX, left, from);
    }
    if (!take(parser->scanner, ':'))
        return fail(parser, "expected ']' or ':' after an index");
    if (next_char(parser->scanner) != ']' || from == NULL) {
        to = parse_inside(parser);
        if (to == NULL)
            return NULL;
    }
    if (!take(parser->scanner, ']'))
        return fail(parser, "expected ']' after a slice");
    /* The third part counts towards the depth as well. */
    struct filter *bounds = new_filter(parser, OP_SLICE, from, to);
    struct filter *slice = bounds == NULL ? NULL : new_filter(parser, OP_SLICE, left, bounds);
    if (slice == NULL)
        return NULL;
    slice->right = from;
    slice->third = to;
    return slice;
}

static const struct filter *parse_name_suffix(struct parser *parser, const struct filter *left)
{
    struct scanner *scanner = parser->scanner;
    scanner->at++;
    const struct filter *key;
    if (scan_peek(scanner) == '"') {
        key = parse_string(parser);
    } else {
        struct text name = peek_name(scanner);
        if (name.length == 0)
            return fail(parser, "expected a name after '.'");
        scanner->at += name.length;
        key = new_text(parser, name);
    }
    return key == NULL ? NULL : new_filter(parser, OP_INDEX, left, key);
}

static const struct filter *parse_term(struct parser *parser)
{
    const struct filter *term = parse_primary(parser);
    while (term != NULL) {
        switch (next_char(parser->scanner)) {
        case '[':
            parser->scanner->at++;
            term = parse_bracket_suffix(parser, term);
            break;
        case '.':
            /* .a.[0] is .a[0]. */
            if (parser->scanner->at + 1 < parser->scanner->end && parser->scanner->at[1] == '[')
                parser->scanner->at++;
            else
                term = parse_name_suffix(parser, term);
            break;
        case '?':
            parser->scanner->at++;
            term = new_filter(parser, OP_TRY, term, NULL);
            break;
        default:
            return term;
        }
    }
    return NULL;
}

/* ---- operators ------------------------------------------------------------ */

static const struct filter *parse_operand(struct parser *parser)
{
    if (!take(parser->scanner, '-'))
        return parse_term(parser);
    if (next_char(parser->scanner) == '-') /* or a row of signs would recurse without end */
        return fail(parser, "expected a term after '-'");
    const struct filter *operand = parse_term(parser);
    return operand == NULL ? NULL : new_filter(parser, OP_NEGATE, operand, NULL);
}

static const struct filter *parse_filter(struct parser *parser, unsigned lowest)
{
    const struct filter *left = parse_operand(parser);
    while (left != NULL) {
        const struct operator *operator = peek_operator(parser->scanner);
        if (operator == NULL || operator->level < lowest)
            return left;
        parser->scanner->at += strlen(operator->symbol);

        /* A right operand of its own level nests, and so does the recursion. */
        bool nests = operator->side == RIGHT;
        if (nests && parser->nesting++ == DEPTH_LIMIT)
            return fail(parser, "more than 256 filters in each other");
        const struct filter *right = parse_filter(parser, operator->level + (nests ? 0 : 1));
        if (nests)
            parser->nesting--;
        if (right == NULL)
            return NULL;
        left = new_filter(parser, operator->operation, left, right);
        if (left != NULL && operator->side == NEITHER) {
            const struct operator *next = peek_operator(parser->scanner);
            if (next != NULL && next->level == operator->level)
                return fail(parser, "comparisons cannot be chained; use parentheses");
        }
    }
    return NULL;
}

const struct filter *filter_parse(struct scanner *scanner)
{
    struct parser parser = { scanner, 0 };
    const struct filter *filter = parse_filter(&parser, LEVEL_PIPE);
    if (filter == NULL)
        return NULL;
    if (next_char(scanner) != 0 || scanner->at != scanner->end)
        return fail(&parser, "expected an operator or the end of the filter");
    return filter;
}
