#include "value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "page.h"

const char *value_type_name(enum value_type type)
{
    static const char *const names[] = { "NULL", "INTEGER", "REAL", "TEXT" };
    return names[type];
}

int text_compare(struct text a, struct text b)
{
    size_t shared = a.length < b.length ? a.length : b.length;
    int order = shared == 0 ? 0 : memcmp(a.bytes, b.bytes, shared);
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

bool text_same_name(struct text a, struct text b)
{
    if (a.length != b.length)
        return false;
    for (size_t i = 0; i < a.length; i++) {
        if (to_lower(a.bytes[i]) != to_lower(b.bytes[i]))
            return false;
    }
    return true;
}

/* An integer against a real, without rounding the integer to a real first: from
 * 2^53 on that would make different numbers equal. */
static int compare_integer_real(int64_t integer, double real)
{
    if (real >= 9223372036854775808.0) /* 2^63 */
        return -1;
    if (real < -9223372036854775808.0)
        return 1;
    int64_t whole = (int64_t)real;
    if (integer != whole)
        return integer < whole ? -1 : 1;
    double rest = real - (double)whole;
    return (rest < 0) - (rest > 0);
}

int value_compare(const struct value *a, const struct value *b)
{
    if (a->type == VALUE_INTEGER && b->type == VALUE_INTEGER)
        return (a->integer > b->integer) - (a->integer < b->integer);
    if (a->type == VALUE_REAL && b->type == VALUE_REAL)
        return (a->real > b->real) - (a->real < b->real);
    if (a->type == VALUE_INTEGER && b->type == VALUE_REAL)
        return compare_integer_real(a->integer, b->real);
    if (a->type == VALUE_REAL && b->type == VALUE_INTEGER)
        return -compare_integer_real(b->integer, a->real);
    if (a->type == VALUE_TEXT && b->type == VALUE_TEXT)
        return text_compare(a->text, b->text);
    return (a->type > b->type) - (a->type < b->type);
}

static struct text copy_text(struct arena *arena, const char *bytes, size_t length)
{
    char *copy = arena_allocate(arena, length, 1);
    if (length > 0)
        memcpy(copy, bytes, length);
    return (struct text){ copy, length };
}

struct value value_copy(struct arena *arena, const struct value *value)
{
    struct value copy = *value;
    if (value->type == VALUE_TEXT)
        copy.text = copy_text(arena, value->text.bytes, value->text.length);
    return copy;
}

/* The fewest digits that read back as the same number, and a sign that it is a
 * real: 3 is written 3.0. */
static int write_real(double real, char *digits, size_t size)
{
    int length = 0;
    for (int precision = 15; precision <= 17; precision++) {
        length = snprintf(digits, size, "%.*g", precision, real);
        if (strtod(digits, NULL) == real)
            break;
    }
    if (isfinite(real) && strpbrk(digits, ".e") == NULL)
        length += snprintf(digits + length, size - (size_t)length, ".0");
    return length;
}

struct text value_to_text(struct arena *arena, const struct value *value)
{
    char digits[40];
    switch (value->type) {
    case VALUE_NULL:
        return (struct text){ "NULL", 4 };
    case VALUE_INTEGER:
        return copy_text(arena, digits,
                         (size_t)snprintf(digits, sizeof digits, "%" PRId64, value->integer));
    case VALUE_REAL:
        return copy_text(arena, digits, (size_t)write_real(value->real, digits, sizeof digits));
    default:
        return value->text;
    }
}

/* ---- records -------------------------------------------------------------- */

uint8_t *record_encode(struct arena *arena, const struct value *values, int count,
                       uint32_t *record_bytes)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += 1 + (values[i].type == VALUE_NULL   ? 0
                     : values[i].type == VALUE_TEXT ? 4 + values[i].text.length
                                                    : 8);
    uint8_t *record = arena_allocate(arena, size, 1), *at = record;
    for (int i = 0; i < count; i++) {
        uint64_t bits;
        *at++ = (uint8_t)values[i].type;
        switch (values[i].type) {
        case VALUE_NULL:
            break;
        case VALUE_INTEGER:
            store64(at, (uint64_t)values[i].integer);
            at += 8;
            break;
        case VALUE_REAL:
            memcpy(&bits, &values[i].real, sizeof bits);
            store64(at, bits);
            at += 8;
            break;
        case VALUE_TEXT:
            store32(at, (uint32_t)values[i].text.length);
            if (values[i].text.length > 0)
                memcpy(at + 4, values[i].text.bytes, values[i].text.length);
            at += 4 + values[i].text.length;
            break;
        }
    }
    *record_bytes = (uint32_t)size;
    return record;
}

bool record_decode(const uint8_t *record, uint32_t record_bytes, struct value *values, int count)
{
    const uint8_t *at = record, *end = record + record_bytes;
    for (int i = 0; i < count; i++) {
        if (at == end || *at > VALUE_TEXT)
            return false;
        values[i].type = (enum value_type)*at++;
        size_t left = (size_t)(end - at), size = 0;
        if (values[i].type == VALUE_TEXT) {
            if (left < 4 || load32(at) > left - 4)
                return false;
            size = 4 + (size_t)load32(at);
        } else if (values[i].type != VALUE_NULL) {
            size = 8;
        }
        if (size > left)
            return false;
        if (values[i].type == VALUE_INTEGER) {
            values[i].integer = (int64_t)load64(at);
        } else if (values[i].type == VALUE_REAL) {
            uint64_t bits = load64(at);
            memcpy(&values[i].real, &bits, sizeof bits);
            if (isnan(values[i].real)) /* is never stored: it has no place in an order */
                return false;
        } else if (values[i].type == VALUE_TEXT) {
            values[i].text = (struct text){ (const char *)at + 4, size - 4 };
        }
        at += size;
    }
    return at == end;
}
