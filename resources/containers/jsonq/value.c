#include "value.h"

#include <string.h>

const struct value json_null = { .kind = JSON_NULL };
const struct value json_false = { .kind = JSON_FALSE };
const struct value json_true = { .kind = JSON_TRUE };

static struct value *new_value(struct arena *arena, enum kind kind)
{
    struct value *value = arena_allocate(arena, 1, sizeof *value);
    value->kind = kind;
    value->depth = 0;
    return value;
}

const struct value *value_from_literal(struct arena *arena, double number, struct text literal)
{
    struct value *value = new_value(arena, JSON_NUMBER);
    value->number.value = number;
    value->number.literal = literal;
    return value;
}

const struct value *value_from_double(struct arena *arena, double number)
{
    struct text none = { NULL, 0 };
    return value_from_literal(arena, number, none);
}

const struct value *value_from_text(struct arena *arena, struct text text)
{
    struct value *value = new_value(arena, JSON_STRING);
    value->string = text;
    return value;
}

const struct value *value_from_list(struct arena *arena, struct list list)
{
    unsigned deepest = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (list.items[i]->depth > deepest)
            deepest = list.items[i]->depth;
    }
    if (deepest >= DEPTH_LIMIT)
        return NULL;
    struct value *value = new_value(arena, JSON_ARRAY);
    value->depth = deepest + 1;
    value->array = list;
    return value;
}

const struct value *value_from_object(struct arena *arena, struct object object)
{
    unsigned deepest = 0;
    for (size_t i = 0; i < object.count; i++) {
        if (object.fields[i].value->depth > deepest)
            deepest = object.fields[i].value->depth;
    }
    if (deepest >= DEPTH_LIMIT)
        return NULL;
    struct value *value = new_value(arena, JSON_OBJECT);
    value->depth = deepest + 1;
    value->object = object;
    return value;
}

/* Room for one more item, with what is there moved along. */
static void *grown(struct arena *arena, const void *items, size_t count, size_t *capacity,
                   size_t item_size)
{
    /* Halves of the address space would be refused by the arena anyway. */
    if (*capacity > SIZE_MAX / 2)
        out_of_memory();
    *capacity = *capacity == 0 ? 4 : *capacity * 2;
    void *moved = arena_allocate(arena, *capacity, item_size);
    if (count > 0)
        memcpy(moved, items, count * item_size);
    return moved;
}

void list_push(struct arena *arena, struct list *list, const struct value *value)
{
    if (list->count == list->capacity)
        list->items = grown(arena, list->items, list->count, &list->capacity, sizeof *list->items);
    list->items[list->count++] = value;
}

/* ---- objects -------------------------------------------------------------- */

/* Up to here comparing keys one by one is faster than hashing. */
enum { SMALL_OBJECT = 8 };

static size_t hash_text(struct text text)
{
    uint32_t hash = 0x811c9dc5; /* FNV-1a */
    for (size_t i = 0; i < text.length; i++)
        hash = (hash ^ (unsigned char)text.bytes[i]) * 0x01000193;
    return hash;
}

static bool text_equal(struct text a, struct text b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

/* The slot that leads to `key`, or the empty one where it would be entered. */
static uint32_t *find_slot(const struct object *object, struct text key)
{
    size_t mask = object->slot_count - 1;
    size_t at = hash_text(key) & mask;
    while (object->slots[at] != 0 && !text_equal(object->fields[object->slots[at] - 1].key, key))
        at = (at + 1) & mask;
    return &object->slots[at];
}

/* Builds the table anew, twice as large as the room for fields, so that at
 * least half of it stays empty and every search ends. */
static void index_fields(struct arena *arena, struct object *object)
{
    object->slot_count = object->capacity * 2;
    object->slots = arena_allocate(arena, object->slot_count, sizeof *object->slots);
    memset(object->slots, 0, object->slot_count * sizeof *object->slots);
    for (size_t i = 0; i < object->count; i++)
        *find_slot(object, object->fields[i].key) = (uint32_t)i + 1;
}

static struct field *find_field(const struct object *object, struct text key)
{
    if (object->slots != NULL) {
        uint32_t number = *find_slot(object, key);
        return number == 0 ? NULL : &object->fields[number - 1];
    }
    for (size_t i = 0; i < object->count; i++) {
        if (text_equal(object->fields[i].key, key))
            return &object->fields[i];
    }
    return NULL;
}

void object_set(struct arena *arena, struct object *object, struct text key,
                const struct value *value)
{
    struct field *field = find_field(object, key);
    if (field != NULL) {
        field->value = value;
        return;
    }
    if (object->count == object->capacity) {
        object->fields = grown(arena, object->fields, object->count, &object->capacity,
                               sizeof *object->fields);
        if (object->capacity > SMALL_OBJECT)
            index_fields(arena, object);
    }
    if (object->slots != NULL)
        *find_slot(object, key) = (uint32_t)object->count + 1;
    object->fields[object->count].key = key;
    object->fields[object->count].value = value;
    object->count++;
}

const struct value *object_get(const struct object *object, struct text key)
{
    const struct field *field = find_field(object, key);
    return field == NULL ? NULL : field->value;
}

struct object object_copy(struct arena *arena, const struct object *object)
{
    struct object copy = *object;
    if (copy.capacity > 0) {
        copy.fields = arena_allocate(arena, copy.capacity, sizeof *copy.fields);
        memcpy(copy.fields, object->fields, copy.count * sizeof *copy.fields);
    }
    if (copy.slots != NULL) {
        copy.slots = arena_allocate(arena, copy.slot_count, sizeof *copy.slots);
        memcpy(copy.slots, object->slots, copy.slot_count * sizeof *copy.slots);
    }
    return copy;
}
