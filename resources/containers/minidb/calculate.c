/* Arithmetic, texts and the functions. NULL never gets here. */

#include <math.h>
#include <string.h>

#include "evaluate.h"
#include "node.h"

static bool overflow(struct evaluation *evaluation, const struct expression *expression)
{
    return fail_sql(evaluation->error, expression->offset, "integer overflow");
}

static bool calculate_integers(struct evaluation *evaluation, const struct expression *expression,
                               int64_t left, int64_t right, int64_t *result)
{
    bool overflows = false;
    switch (expression->kind) {
    case EXPRESSION_ADD:
        overflows = __builtin_add_overflow(left, right, result);
        break;
    case EXPRESSION_SUBTRACT:
    case EXPRESSION_NEGATE:
        overflows = __builtin_sub_overflow(left, right, result);
        break;
    case EXPRESSION_MULTIPLY:
        overflows = __builtin_mul_overflow(left, right, result);
        break;
    default: /* division and remainder */
        if (right == 0)
            return fail_sql(evaluation->error, expression->offset, "division by zero");
        if (right == -1) { /* the least integer by -1 is the one that overflows */
            overflows = expression->kind == EXPRESSION_DIVIDE && left == INT64_MIN;
            *result = expression->kind == EXPRESSION_DIVIDE && !overflows ? -left : 0;
        } else {
            *result = expression->kind == EXPRESSION_DIVIDE ? left / right : left % right;
        }
    }
    return !overflows || overflow(evaluation, expression);
}

static bool calculate_reals(struct evaluation *evaluation, const struct expression *expression,
                            double left, double right, struct value *result)
{
    double real = 0;
    switch (expression->kind) {
    case EXPRESSION_ADD:
        real = left + right;
        break;
    case EXPRESSION_SUBTRACT:
        real = left - right;
        break;
    case EXPRESSION_MULTIPLY:
        real = left * right;
        break;
    default:
        if (right == 0)
            return fail_sql(evaluation->error, expression->offset, "division by zero");
        real = expression->kind == EXPRESSION_DIVIDE ? left / right : fmod(left, right);
    }
    /* What is no number has no place in an order; SQL's word for it is NULL. */
    *result = isnan(real) ? value_null() : value_from_real(real);
    return true;
}

static bool concatenate(struct evaluation *evaluation, const struct expression *expression,
                        const struct value *left, const struct value *right, struct value *result)
{
    struct text a = value_to_text(evaluation->arena, left);
    struct text b = value_to_text(evaluation->arena, right);
    if (a.length > MAX_RECORD_BYTES || b.length > MAX_RECORD_BYTES)
        return fail_sql(evaluation->error, expression->offset, "the text is too long");
    char *bytes = arena_allocate(evaluation->arena, a.length + b.length, 1);
    if (a.length > 0)
        memcpy(bytes, a.bytes, a.length);
    if (b.length > 0)
        memcpy(bytes + a.length, b.bytes, b.length);
    *result = value_from_text((struct text){ bytes, a.length + b.length });
    return true;
}

bool calculate(struct evaluation *evaluation, const struct expression *expression,
               const struct value *left, const struct value *right, struct value *result)
{
    if (expression->kind == EXPRESSION_CONCATENATE)
        return concatenate(evaluation, expression, left, right, result);
    if (expression->kind == EXPRESSION_LIKE) {
        *result = value_from_integer(text_like(value_to_text(evaluation->arena, left),
                                               value_to_text(evaluation->arena, right)));
        return true;
    }
    if (!value_is_number(left) || !value_is_number(right))
        return fail_sql(evaluation->error, expression->offset, "a text is not a number");
    if (left->type == VALUE_REAL || right->type == VALUE_REAL)
        return calculate_reals(evaluation, expression, value_as_real(left), value_as_real(right),
                               result);
    *result = value_from_integer(0);
    return calculate_integers(evaluation, expression, left->integer, right->integer,
                              &result->integer);
}

/* ---- functions ------------------------------------------------------------ */

/* Of ASCII letters; other characters stay as they are. */
static struct value change_case(struct evaluation *evaluation, struct text text, char from,
                                char to)
{
    char *bytes = arena_allocate(evaluation->arena, text.length, 1);
    for (size_t i = 0; i < text.length; i++) {
        char c = text.bytes[i];
        bytes[i] = c >= from && c <= from + 25 ? (char)(c - from + to) : c;
    }
    return value_from_text((struct text){ bytes, text.length });
}

bool call_function(struct evaluation *evaluation, const struct expression *expression,
                   const struct value *argument, struct value *result)
{
    if (expression->function == FUNCTION_ABS) {
        if (!value_is_number(argument))
            return fail_sql(evaluation->error, expression->offset, "a text is not a number");
        *result = *argument;
        if (argument->type == VALUE_REAL)
            result->real = fabs(argument->real);
        else if (argument->integer == INT64_MIN)
            return overflow(evaluation, expression);
        else if (argument->integer < 0)
            result->integer = -argument->integer;
        return true;
    }
    struct text text = value_to_text(evaluation->arena, argument);
    if (expression->function == FUNCTION_LENGTH) {
        int64_t characters = 0;
        for (size_t i = 0; i < text.length; i++)
            characters += ((unsigned char)text.bytes[i] & 0xc0) != 0x80;
        *result = value_from_integer(characters);
    } else if (expression->function == FUNCTION_LOWER) {
        *result = change_case(evaluation, text, 'A', 'a');
    } else {
        *result = change_case(evaluation, text, 'a', 'A');
    }
    return true;
}

static bool same_letter(char a, char b)
{
    char folded = a >= 'A' && a <= 'Z' ? (char)(a + 'a' - 'A') : a;
    return folded == (b >= 'A' && b <= 'Z' ? (char)(b + 'a' - 'A') : b);
}

/* Behind the character at `at`. */
static size_t skip_character(struct text text, size_t at)
{
    do
        at++;
    while (at < text.length && ((unsigned char)text.bytes[at] & 0xc0) == 0x80);
    return at;
}

/* % stands for any text, _ for one character, letters for both their cases. When
 * the pattern fails after a %, that % takes one character more; it is never
 * necessary to go back to an earlier one. */
bool text_like(struct text text, struct text pattern)
{
    size_t t = 0, p = 0, after_star = 0, star_end = 0;
    bool star = false;
    while (t < text.length) {
        if (p < pattern.length && pattern.bytes[p] == '%') {
            star = true;
            after_star = ++p;
            star_end = t;
        } else if (p < pattern.length && pattern.bytes[p] == '_') {
            p++;
            t = skip_character(text, t);
        } else if (p < pattern.length && same_letter(pattern.bytes[p], text.bytes[t])) {
            p++;
            t++;
        } else if (star) {
            star_end = skip_character(text, star_end);
            t = star_end;
            p = after_star;
        } else {
            return false;
        }
    }
    while (p < pattern.length && pattern.bytes[p] == '%')
        p++;
    return p == pattern.length;
}
