/* JSON values: immutable, in an arena, shared without counting. */

#ifndef JSONQ_VALUE_H
#define JSONQ_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"

/* How deep arrays and objects (and filters) may nest. Everything that walks
 * them recurses, and the stack is small. */
enum { DEPTH_LIMIT = 256 };

/* In the order in which values of different kinds sort. */
enum kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* Bytes of UTF-8, not terminated. */
struct text {
    const char *bytes;
    size_t length;
};

/* A growing sequence of values: outputs of a filter, items of an array. */
struct list {
    const struct value **items;
    size_t count;
    size_t capacity;
};

struct field {
    struct text key;
    const struct value *value;
};

struct object {
    struct field *fields; /* in order of insertion */
    size_t count;
    size_t capacity;
    uint32_t *slots; /* hash table of field numbers plus 1; NULL while small */
    size_t slot_count;
};

struct number {
    double value;
    struct text literal; /* as written in the input; no bytes for a result of arithmetic */
};

struct value {
    enum kind kind;
    unsigned depth; /* 0 for scalars, 1 + the deepest part for arrays and objects */
    union {
        struct number number;
        struct text string;
        struct list array;
        struct object object;
    };
};

extern const struct value json_null, json_false, json_true;

static inline struct text text_from(const char *c_string)
{
    struct text text = { c_string, __builtin_strlen(c_string) };
    return text;
}

static inline const struct value *value_from_bool(bool condition)
{
    return condition ? &json_true : &json_false;
}

/* Everything but false and null counts as true. */
static inline bool value_is_true(const struct value *value)
{
    return value->kind != JSON_NULL && value->kind != JSON_FALSE;
}

const struct value *value_from_double(struct arena *arena, double number);
const struct value *value_from_literal(struct arena *arena, double number, struct text literal);
const struct value *value_from_text(struct arena *arena, struct text text);

/* Take over the list or object. NULL if the result would nest too deeply. */
const struct value *value_from_list(struct arena *arena, struct list list);
const struct value *value_from_object(struct arena *arena, struct object object);

void list_push(struct arena *arena, struct list *list, const struct value *value);

/* Sets a field, replacing the value of an earlier field of the same name. */
void object_set(struct arena *arena, struct object *object, struct text key,
                const struct value *value);

/* NULL if there is no such field. */
const struct value *object_get(const struct object *object, struct text key);

/* A copy that can be changed without changing the original. */
struct object object_copy(struct arena *arena, const struct object *object);

/* The fields ordered by key. */
struct field *object_sorted(struct arena *arena, const struct object *object);

int text_compare(struct text a, struct text b);

/* Less than, equal to or greater than 0: a total order over all values, by kind
 * first. Objects compare by their sorted keys, then by the values of these.
 * Uses the arena for scratch memory. */
int value_compare(struct arena *arena, const struct value *a, const struct value *b);

/* Sorts `items` by `keys` (both permuted alike; may be the same array), keeping
 * the order of equal ones. */
void values_sort(struct arena *arena, const struct value **keys, const struct value **items,
                 size_t count);

#endif
