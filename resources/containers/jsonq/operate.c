/* What + - * / % and [] do to values of each kind. */

#include <math.h>
#include <string.h>

#include "filter.h"

static const struct value *cannot(struct evaluation *run, const char *verb,
                                  const struct value *left, const struct value *right)
{
    run_error(run, "%s and %s cannot be %s", kind_name(left), kind_name(right), verb);
    return NULL;
}

static const struct value *join_texts(struct evaluation *run, struct text a, struct text b)
{
    if (a.length > SIZE_MAX - b.length)
        out_of_memory();
    char *bytes = arena_allocate(run->arena, a.length + b.length, 1);
    if (a.length > 0)
        memcpy(bytes, a.bytes, a.length);
    if (b.length > 0)
        memcpy(bytes + a.length, b.bytes, b.length);
    struct text joined = { bytes, a.length + b.length };
    return value_from_text(run->arena, joined);
}

static const struct value *add(struct evaluation *run, const struct value *left,
                               const struct value *right)
{
    if (left->kind == JSON_NULL)
        return right;
    if (right->kind == JSON_NULL)
        return left;
    if (left->kind != right->kind)
        return cannot(run, "added", left, right);
    switch (left->kind) {
    case JSON_NUMBER:
        return run_number(run, left->number.value + right->number.value);
    case JSON_STRING:
        return join_texts(run, left->string, right->string);
    case JSON_ARRAY: {
        struct list items = { 0 };
        for (size_t i = 0; i < left->array.count; i++)
            list_push(run->arena, &items, left->array.items[i]);
        for (size_t i = 0; i < right->array.count; i++)
            list_push(run->arena, &items, right->array.items[i]);
        return run_array(run, items);
    }
    case JSON_OBJECT: {
        struct object merged = object_copy(run->arena, &left->object);
        for (size_t i = 0; i < right->object.count; i++)
            object_set(run->arena, &merged, right->object.fields[i].key,
                       right->object.fields[i].value);
        return run_object(run, merged);
    }
    default:
        return cannot(run, "added", left, right);
    }
}

static const struct value *subtract(struct evaluation *run, const struct value *left,
                                    const struct value *right)
{
    if (left->kind == JSON_NUMBER && right->kind == JSON_NUMBER)
        return run_number(run, left->number.value - right->number.value);
    if (left->kind != JSON_ARRAY || right->kind != JSON_ARRAY)
        return cannot(run, "subtracted", left, right);
    struct list items = { 0 };
    for (size_t i = 0; i < left->array.count; i++) {
        bool removed = false;
        for (size_t j = 0; j < right->array.count && !removed; j++)
            removed = value_compare(run->arena, left->array.items[i], right->array.items[j]) == 0;
        if (!removed)
            list_push(run->arena, &items, left->array.items[i]);
    }
    return run_array(run, items);
}

/* The parts of `whole` between the places where `separator` is; for an empty
 * separator its characters. */
static const struct value *split(struct evaluation *run, struct text whole, struct text separator)
{
    struct list parts = { 0 };
    const char *start = whole.bytes, *end = whole.bytes + whole.length, *at = start;
    while (at < end) {
        if (separator.length == 0) {
            at += utf8_length(at, end);
            struct text part = { start, (size_t)(at - start) };
            list_push(run->arena, &parts, value_from_text(run->arena, part));
            start = at;
        } else if ((size_t)(end - at) >= separator.length &&
                   memcmp(at, separator.bytes, separator.length) == 0) {
            struct text part = { start, (size_t)(at - start) };
            list_push(run->arena, &parts, value_from_text(run->arena, part));
            at += separator.length;
            start = at;
        } else {
            at++;
        }
    }
    if (whole.length > 0 && separator.length > 0) {
        struct text part = { start, (size_t)(end - start) };
        list_push(run->arena, &parts, value_from_text(run->arena, part));
    }
    return run_array(run, parts);
}

static const struct value *divide(struct evaluation *run, const struct value *left,
                                  const struct value *right)
{
    if (left->kind == JSON_STRING && right->kind == JSON_STRING)
        return split(run, left->string, right->string);
    if (left->kind != JSON_NUMBER || right->kind != JSON_NUMBER)
        return cannot(run, "divided", left, right);
    if (right->number.value == 0) {
        run_error(run, "division by zero");
        return NULL;
    }
    return run_number(run, left->number.value / right->number.value);
}

static const struct value *remainder_of(struct evaluation *run, const struct value *left,
                                        const struct value *right)
{
    if (left->kind != JSON_NUMBER || right->kind != JSON_NUMBER)
        return cannot(run, "divided", left, right);
    /* Of the whole parts, with the sign of the dividend. */
    double divisor = trunc(right->number.value);
    if (divisor == 0) {
        run_error(run, "remainder of a division by zero");
        return NULL;
    }
    return run_number(run, fmod(trunc(left->number.value), divisor));
}

const struct value *arithmetic(struct evaluation *run, enum operation operation,
                               const struct value *left, const struct value *right)
{
    switch (operation) {
    case OP_ADD:
        return add(run, left, right);
    case OP_SUBTRACT:
        return subtract(run, left, right);
    case OP_MULTIPLY:
        if (left->kind != JSON_NUMBER || right->kind != JSON_NUMBER)
            return cannot(run, "multiplied", left, right);
        return run_number(run, left->number.value * right->number.value);
    case OP_DIVIDE:
        return divide(run, left, right);
    default:
        return remainder_of(run, left, right);
    }
}

/* ---- indexing ------------------------------------------------------------- */

static size_t characters(struct text text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++)
        count += ((unsigned char)text.bytes[i] & 0xc0) != 0x80;
    return count;
}

static const char *skip_characters(const char *at, const char *end, size_t count)
{
    while (count-- > 0 && at < end)
        at += utf8_length(at, end);
    return at;
}

static const struct value *cannot_index(struct evaluation *run, const struct value *input,
                                        const struct value *index)
{
    if (index->kind == JSON_STRING) {
        const char *start = index->string.bytes;
        const char *stop = skip_characters(start, start + index->string.length, 30);
        run_error(run, "cannot index %s with \"%.*s\"", kind_name(input), (int)(stop - start), start);
    } else {
        run_error(run, "cannot index %s with %s", kind_name(input), kind_name(index));
    }
    return NULL;
}

const struct value *index_value(struct evaluation *run, const struct value *input,
                                const struct value *index)
{
    const struct value *found = NULL;
    if (index->kind == JSON_STRING && input->kind == JSON_OBJECT) {
        found = object_get(&input->object, index->string);
    } else if (index->kind == JSON_NUMBER && input->kind == JSON_ARRAY) {
        double at = floor(index->number.value);
        if (at < 0)
            at += (double)input->array.count;
        if (at >= 0 && at < (double)input->array.count)
            found = input->array.items[(size_t)at];
    } else if (input->kind != JSON_NULL ||
               (index->kind != JSON_STRING && index->kind != JSON_NUMBER)) {
        return cannot_index(run, input, index);
    }
    return found == NULL ? &json_null : found;
}

/* A bound of a slice as an offset from 0 to `length`. */
static size_t bound(const struct value *value, size_t length, bool upper)
{
    if (value->kind == JSON_NULL)
        return upper ? length : 0;
    double at = upper ? ceil(value->number.value) : floor(value->number.value);
    if (at < 0)
        at += (double)length;
    if (!(at > 0)) /* also for what is not a number */
        return 0;
    return at > (double)length ? length : (size_t)at;
}

const struct value *slice_value(struct evaluation *run, const struct value *input,
                                const struct value *from, const struct value *to)
{
    if ((from->kind != JSON_NULL && from->kind != JSON_NUMBER) ||
        (to->kind != JSON_NULL && to->kind != JSON_NUMBER)) {
        run_error(run, "the bounds of a slice have to be numbers");
        return NULL;
    }
    if (input->kind == JSON_NULL)
        return &json_null;
    if (input->kind == JSON_ARRAY) {
        size_t first = bound(from, input->array.count, false);
        size_t last = bound(to, input->array.count, true);
        struct list items = { 0 };
        for (size_t i = first; i < last; i++)
            list_push(run->arena, &items, input->array.items[i]);
        return run_array(run, items);
    }
    if (input->kind == JSON_STRING) {
        size_t length = characters(input->string);
        size_t first = bound(from, length, false);
        size_t last = bound(to, length, true);
        const char *end = input->string.bytes + input->string.length;
        const char *start = skip_characters(input->string.bytes, end, first);
        const char *stop = last > first ? skip_characters(start, end, last - first) : start;
        struct text part = { start, (size_t)(stop - start) };
        return value_from_text(run->arena, part);
    }
    run_error(run, "cannot take a slice of %s", kind_name(input));
    return NULL;
}
