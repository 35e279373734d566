/* The grammar of patterns, that of POSIX extended expressions with a few
 * escapes everybody is used to:
 *
 *   choice   = sequence ("|" sequence)*
 *   sequence = (atom repeat*)*
 *   repeat   = * | + | ? | {n} | {n,} | {,m} | {n,m}
 *   atom     = character | . | [set] | (choice) | ^ | $ | \d \w \s \b ... | \punctuation
 */

#include "syntax.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "utf8.h"

struct parser {
    const char *start;
    const char *at; /* the pattern ends with a zero byte */
    struct syntax syntax;
    struct pattern_error *error;
    int nesting;
};

static struct node *parse_choice(struct parser *parser);

/* ---- nodes ---------------------------------------------------------------- */

static struct node *new_node(enum node_kind kind)
{
    struct node *node = allocate(NULL, 1, sizeof *node);
    memset(node, 0, sizeof *node);
    node->kind = kind;
    return node;
}

static void add_child(struct node *parent, struct node *child)
{
    child->previous = parent->last;
    parent->last = child;
    if (parent->depth < child->depth)
        parent->depth = child->depth;
}

void pattern_free(struct node *node)
{
    while (node != NULL) {
        struct node *previous = node->previous;
        pattern_free(node->last);
        charset_free(&node->set);
        free(node);
        node = previous;
    }
}

static struct node *new_assertion(enum assertion assertion)
{
    struct node *node = new_node(NODE_ASSERTION);
    node->assertion = assertion;
    return node;
}

static struct node *fail(struct parser *parser, const char *at, const char *message)
{
    if (parser->error->message == NULL) {
        parser->error->message = message;
        parser->error->column = 1;
        for (const char *c = parser->start; c < at; c++)
            parser->error->column += ((unsigned char)*c & 0xc0) != 0x80;
    }
    return NULL;
}

/* ---- characters and sets -------------------------------------------------- */

/* Reads one character, as it stands. */
static bool take_character(struct parser *parser, uint32_t *code_point)
{
    size_t length = utf8_decode(parser->at, parser->at + strlen(parser->at), code_point);
    if (length == 0) {
        fail(parser, parser->at, "byte that is not UTF-8");
        return false;
    }
    parser->at += length;
    return true;
}

/* Reads the character an escape stands for; `at` is behind the backslash. */
static bool take_escaped(struct parser *parser, uint32_t *code_point)
{
    char c = *parser->at;
    bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    bool is_digit = c >= '0' && c <= '9';
    if (c == 't') {
        parser->at++;
        *code_point = '\t';
        return true;
    }
    if (c == '\0' || is_letter || is_digit) {
        fail(parser, parser->at - 1, c == '\0' ? "nothing after \\" : "unknown escape");
        return false;
    }
    return take_character(parser, code_point);
}

/* [:name:] inside a set; `at` is behind its first bracket. */
static bool take_class(struct parser *parser, struct charset *set)
{
    const char *name = parser->at + 1, *end = strstr(name, ":]");
    if (end == NULL || !charset_add_class(set, name, (size_t)(end - name))) {
        fail(parser, parser->at - 1, "unknown class of characters");
        return false;
    }
    parser->at = end + 2;
    return true;
}

/* One member of a set: a class, which is added, or a character, which is left
 * in `code_point` as it may start or end a range. */
static bool take_member(struct parser *parser, struct charset *set, bool *is_class,
                        uint32_t *code_point)
{
    *is_class = true;
    if (parser->at[0] == '[' && parser->at[1] == ':') {
        parser->at++;
        return take_class(parser, set);
    }
    if (parser->at[0] == '\\') {
        parser->at++;
        if (charset_add_escape(set, *parser->at)) {
            parser->at++;
            return true;
        }
        *is_class = false;
        return take_escaped(parser, code_point);
    }
    *is_class = false;
    return take_character(parser, code_point);
}

/* The members between [ or [^ and ]. */
static bool take_members(struct parser *parser, struct charset *set, const char *opening)
{
    /* A ] that comes first is a member, as an empty set would be no use. */
    for (bool first = true; first || *parser->at != ']'; first = false) {
        bool is_class, last_is_class;
        uint32_t from, to;
        const char *member = parser->at;
        if (*parser->at == '\0') {
            fail(parser, opening, "[ without ]");
            return false;
        }
        if (!take_member(parser, set, &is_class, &from))
            return false;
        if (is_class)
            continue;
        to = from;
        if (parser->at[0] == '-' && parser->at[1] != ']' && parser->at[1] != '\0') {
            parser->at++;
            if (!take_member(parser, set, &last_is_class, &to))
                return false;
            if (last_is_class || to < from) {
                fail(parser, member, "range that ends before it starts");
                return false;
            }
        }
        charset_add(set, from, to);
    }
    parser->at++;
    return true;
}

static struct node *parse_set(struct parser *parser)
{
    const char *opening = parser->at++;
    struct node *node = new_node(NODE_SET);
    bool negated = *parser->at == '^';
    parser->at += negated;
    if (!take_members(parser, &node->set, opening)) {
        pattern_free(node);
        return NULL;
    }
    if (parser->syntax.ignore_case)
        charset_add_cases(&node->set);
    if (negated)
        charset_negate(&node->set);
    return node;
}

static struct node *new_character(struct parser *parser, uint32_t code_point)
{
    struct node *node = new_node(NODE_SET);
    charset_add(&node->set, code_point, code_point);
    if (parser->syntax.ignore_case)
        charset_add_cases(&node->set);
    return node;
}

/* ---- atoms and repetition ------------------------------------------------- */

static struct node *parse_group(struct parser *parser)
{
    const char *opening = parser->at++;
    if (parser->nesting == MAX_NESTING)
        return fail(parser, opening, "more than 100 groups and repetitions in each other");
    parser->nesting++;
    struct node *node = parse_choice(parser);
    parser->nesting--;
    if (node != NULL && *parser->at != ')') {
        pattern_free(node);
        return fail(parser, opening, "( without )");
    }
    if (node != NULL) {
        node->depth++;
        parser->at++;
    }
    return node;
}

static struct node *parse_escape(struct parser *parser)
{
    uint32_t code_point;
    parser->at++;
    if (*parser->at == 'b' || *parser->at == 'B')
        return new_assertion(*parser->at++ == 'b' ? AT_WORD_EDGE : NOT_AT_WORD_EDGE);
    struct node *node = new_node(NODE_SET);
    if (charset_add_escape(&node->set, *parser->at)) {
        parser->at++;
        return node;
    }
    pattern_free(node);
    return take_escaped(parser, &code_point) ? new_character(parser, code_point) : NULL;
}

static struct node *parse_atom(struct parser *parser)
{
    uint32_t code_point;
    switch (*parser->at) {
    case '(':
        return parse_group(parser);
    case '[':
        return parse_set(parser);
    case '\\':
        return parse_escape(parser);
    case '^':
        parser->at++;
        return new_assertion(AT_LINE_START);
    case '$':
        parser->at++;
        return new_assertion(AT_LINE_END);
    case '.': {
        struct node *node = new_node(NODE_SET);
        parser->at++;
        charset_add(&node->set, 0, LAST_CODE_POINT);
        return node;
    }
    case '*':
    case '+':
    case '?':
    case '{':
        return fail(parser, parser->at, "nothing to repeat; write \\ before it to mean itself");
    default:
        return take_character(parser, &code_point) ? new_character(parser, code_point) : NULL;
    }
}

/* A number in braces; -1 if there is none, more than MAX_REPEAT if it is large. */
static int take_number(struct parser *parser)
{
    int number = -1;
    while (*parser->at >= '0' && *parser->at <= '9') {
        number = (number < 0 ? 0 : number) * 10 + (*parser->at++ - '0');
        if (number > MAX_REPEAT)
            number = MAX_REPEAT + 1;
    }
    return number;
}

/* The bounds of the repetition at the current place, if there is one there. */
static bool take_repeat(struct parser *parser, struct node *repeat)
{
    const char *opening = parser->at;
    repeat->minimum = *opening == '+';
    repeat->maximum = *opening == '?' ? 1 : UNLIMITED;
    parser->at++;
    if (*opening != '{')
        return true;
    int minimum = take_number(parser), maximum = minimum;
    bool comma = *parser->at == ',';
    if (comma) {
        parser->at++;
        maximum = take_number(parser);
    }
    if (*parser->at != '}' || (minimum < 0 && maximum < 0)) {
        fail(parser, opening, "{ without bounds and }; write \\{ to mean a brace");
        return false;
    }
    parser->at++;
    repeat->minimum = minimum < 0 ? 0 : minimum;
    repeat->maximum = comma && maximum < 0 ? UNLIMITED : maximum;
    if (repeat->minimum > MAX_REPEAT || repeat->maximum > MAX_REPEAT) {
        fail(parser, opening, "more than 1000 repetitions");
        return false;
    }
    if (repeat->maximum != UNLIMITED && repeat->maximum < repeat->minimum) {
        fail(parser, opening, "bounds the wrong way round");
        return false;
    }
    return true;
}

static struct node *parse_repeated(struct parser *parser)
{
    struct node *node = parse_atom(parser);
    while (node != NULL && *parser->at != '\0' && strchr("*+?{", *parser->at) != NULL) {
        struct node *repeat = new_node(NODE_REPEAT);
        add_child(repeat, node);
        node = repeat;
        node->depth++;
        if (node->depth > MAX_NESTING)
            fail(parser, parser->at, "more than 100 groups and repetitions in each other");
        if (node->depth > MAX_NESTING || !take_repeat(parser, repeat)) {
            pattern_free(node);
            return NULL;
        }
    }
    return node;
}

static struct node *parse_sequence(struct parser *parser)
{
    struct node *sequence = new_node(NODE_SEQUENCE);
    while (*parser->at != '\0' && *parser->at != '|' && *parser->at != ')') {
        struct node *node = parse_repeated(parser);
        if (node == NULL) {
            pattern_free(sequence);
            return NULL;
        }
        add_child(sequence, node);
    }
    if (sequence->last == NULL)
        sequence->kind = NODE_EMPTY;
    return sequence;
}

static struct node *parse_choice(struct parser *parser)
{
    struct node *choice = new_node(NODE_CHOICE);
    for (;;) {
        struct node *sequence = parse_sequence(parser);
        if (sequence == NULL) {
            pattern_free(choice);
            return NULL;
        }
        add_child(choice, sequence);
        if (*parser->at != '|')
            return choice;
        parser->at++;
    }
}

static struct node *parse_fixed(struct parser *parser)
{
    struct node *sequence = new_node(NODE_SEQUENCE);
    while (*parser->at != '\0') {
        uint32_t code_point;
        if (!take_character(parser, &code_point)) {
            pattern_free(sequence);
            return NULL;
        }
        add_child(sequence, new_character(parser, code_point));
    }
    if (sequence->last == NULL)
        sequence->kind = NODE_EMPTY;
    return sequence;
}

struct node *pattern_parse(const char *pattern, struct syntax syntax, struct pattern_error *error)
{
    struct parser parser = { .start = pattern, .at = pattern, .syntax = syntax, .error = error };
    struct node *node = syntax.fixed ? parse_fixed(&parser) : parse_choice(&parser);
    if (node != NULL && *parser.at == ')') {
        pattern_free(node);
        return fail(&parser, parser.at, ") without (");
    }
    if (node == NULL || !syntax.whole_words)
        return node;
    struct node *bounded = new_node(NODE_SEQUENCE);
    add_child(bounded, new_assertion(NO_WORD_BEFORE));
    add_child(bounded, node);
    add_child(bounded, new_assertion(NO_WORD_AFTER));
    return bounded;
}
