/* SQL values, and rows of them as bytes. */

#ifndef MINIDB_VALUE_H
#define MINIDB_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory.h"

/* In the order in which values of different types sort (INTEGER and REAL sort
 * together, as numbers). */
enum value_type { VALUE_NULL, VALUE_INTEGER, VALUE_REAL, VALUE_TEXT };

struct text {
    const char *bytes; /* UTF-8, not terminated */
    size_t length;
};

struct value {
    enum value_type type;
    union {
        int64_t integer;
        double real;
        struct text text;
    };
};

/* The name of a type as SQL has it. */
const char *value_type_name(enum value_type type);

static inline struct value value_null(void)
{
    return (struct value){ .type = VALUE_NULL };
}

static inline struct value value_from_integer(int64_t integer)
{
    return (struct value){ .type = VALUE_INTEGER, .integer = integer };
}

static inline struct value value_from_real(double real)
{
    return (struct value){ .type = VALUE_REAL, .real = real };
}

static inline struct value value_from_text(struct text text)
{
    return (struct value){ .type = VALUE_TEXT, .text = text };
}

static inline bool value_is_number(const struct value *value)
{
    return value->type == VALUE_INTEGER || value->type == VALUE_REAL;
}

static inline double value_as_real(const struct value *value)
{
    return value->type == VALUE_INTEGER ? (double)value->integer : value->real;
}

/* Less than, equal to or greater than 0; a total order over all values, NULL
 * first. (Comparison in SQL, where NULL is neither, is expressions' business.) */
int value_compare(const struct value *a, const struct value *b);

int text_compare(struct text a, struct text b);

/* Compares names, which differ in case at most. */
bool text_same_name(struct text a, struct text b);

/* A copy whose text lives in the arena. */
struct value value_copy(struct arena *arena, const struct value *value);

/* The value as text: what is printed, and what || puts together. */
struct text value_to_text(struct arena *arena, const struct value *value);

/* A row as a record:  per value type:u8, then 8 bytes of a number, or a text's
 * length:u32 and its bytes. */
uint8_t *record_encode(struct arena *arena, const struct value *values, int count,
                       uint32_t *record_bytes);

/* Texts stay in the record. False if the record is not `count` values. */
bool record_decode(const uint8_t *record, uint32_t record_bytes, struct value *values, int count);

#endif
