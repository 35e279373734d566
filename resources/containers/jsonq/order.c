/* The order of values, and sorting by it. */

#include <string.h>

#include "value.h"

int text_compare(struct text a, struct text b)
{
    /* Bytes of UTF-8 sort as the code points they stand for. */
    size_t shared = a.length < b.length ? a.length : b.length;
    int order = shared == 0 ? 0 : memcmp(a.bytes, b.bytes, shared);
    if (order != 0)
        return order;
    return (a.length > b.length) - (a.length < b.length);
}

static void merge_sort_fields(struct field *fields, struct field *scratch, size_t count)
{
    if (count < 2)
        return;
    size_t middle = count / 2, left = 0, right = middle;
    merge_sort_fields(fields, scratch, middle);
    merge_sort_fields(fields + middle, scratch, count - middle);
    memcpy(scratch, fields, count * sizeof *fields);
    for (size_t to = 0; to < count; to++) {
        bool take_right = left == middle ||
                          (right < count && text_compare(scratch[right].key, scratch[left].key) < 0);
        fields[to] = scratch[take_right ? right++ : left++];
    }
}

struct field *object_sorted(struct arena *arena, const struct object *object)
{
    struct field *sorted = arena_allocate(arena, object->count, sizeof *sorted);
    struct field *scratch = arena_allocate(arena, object->count, sizeof *scratch);
    if (object->count > 0)
        memcpy(sorted, object->fields, object->count * sizeof *sorted);
    merge_sort_fields(sorted, scratch, object->count);
    return sorted;
}

static int compare_arrays(struct arena *arena, const struct list *a, const struct list *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        int order = value_compare(arena, a->items[i], b->items[i]);
        if (order != 0)
            return order;
    }
    return (a->count > b->count) - (a->count < b->count);
}

static int compare_objects(struct arena *arena, const struct object *a, const struct object *b)
{
    const struct field *left = object_sorted(arena, a);
    const struct field *right = object_sorted(arena, b);
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        int order = text_compare(left[i].key, right[i].key);
        if (order != 0)
            return order;
    }
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    for (size_t i = 0; i < a->count; i++) {
        int order = value_compare(arena, left[i].value, right[i].value);
        if (order != 0)
            return order;
    }
    return 0;
}

int value_compare(struct arena *arena, const struct value *a, const struct value *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    switch (a->kind) {
    case JSON_NUMBER:
        return (a->number.value > b->number.value) - (a->number.value < b->number.value);
    case JSON_STRING:
        return text_compare(a->string, b->string);
    case JSON_ARRAY:
        return compare_arrays(arena, &a->array, &b->array);
    case JSON_OBJECT:
        return compare_objects(arena, &a->object, &b->object);
    default:
        return 0;
    }
}

struct pair {
    const struct value *key, *item;
};

static void merge_sort_pairs(struct arena *arena, struct pair *pairs, struct pair *scratch,
                             size_t count)
{
    if (count < 2)
        return;
    size_t middle = count / 2, left = 0, right = middle;
    merge_sort_pairs(arena, pairs, scratch, middle);
    merge_sort_pairs(arena, pairs + middle, scratch, count - middle);
    memcpy(scratch, pairs, count * sizeof *pairs);
    for (size_t to = 0; to < count; to++) {
        bool take_right =
            left == middle ||
            (right < count && value_compare(arena, scratch[right].key, scratch[left].key) < 0);
        pairs[to] = scratch[take_right ? right++ : left++];
    }
}

void values_sort(struct arena *arena, const struct value **keys, const struct value **items,
                 size_t count)
{
    struct pair *pairs = arena_allocate(arena, count, sizeof *pairs);
    struct pair *scratch = arena_allocate(arena, count, sizeof *scratch);
    for (size_t i = 0; i < count; i++) {
        pairs[i].key = keys[i];
        pairs[i].item = items[i];
    }
    merge_sort_pairs(arena, pairs, scratch, count);
    for (size_t i = 0; i < count; i++) {
        keys[i] = pairs[i].key;
        items[i] = pairs[i].item;
    }
}
