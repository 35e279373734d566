/* The named functions. */

#include <math.h>
#include <string.h>

#include "filter.h"
#include "json.h"

/* Every function has this shape; most take no arguments and give one output. */
#define FUNCTION(name)                                                                         \
    static bool name(struct evaluation *run, const struct filter *call,                        \
                     const struct value *input, struct list *outputs)

static bool give(struct evaluation *run, struct list *outputs, const struct value *value)
{
    if (value == NULL)
        return false;
    list_push(run->arena, outputs, value);
    return true;
}

static bool needs(struct evaluation *run, const struct value *input, enum kind kind,
                  const char *name)
{
    struct value wanted = { .kind = kind };
    return input->kind == kind ||
           run_error(run, "%s needs %s, not %s", name, kind_name(&wanted), kind_name(input));
}

/* ---- about one value ------------------------------------------------------ */

FUNCTION(run_empty)
{
    return true;
}

FUNCTION(run_not)
{
    return give(run, outputs, value_from_bool(!value_is_true(input)));
}

FUNCTION(run_type)
{
    return give(run, outputs, value_from_text(run->arena, text_from(kind_name(input))));
}

FUNCTION(run_length)
{
    size_t length = 0;
    switch (input->kind) {
    case JSON_NULL:
        break;
    case JSON_NUMBER:
        return give(run, outputs, run_number(run, fabs(input->number.value)));
    case JSON_STRING: /* in characters: every byte that does not continue one */
        for (size_t i = 0; i < input->string.length; i++)
            length += ((unsigned char)input->string.bytes[i] & 0xc0) != 0x80;
        break;
    case JSON_ARRAY:
        length = input->array.count;
        break;
    case JSON_OBJECT:
        length = input->object.count;
        break;
    default:
        return run_error(run, "boolean has no length");
    }
    return give(run, outputs, run_number(run, (double)length));
}

FUNCTION(run_tostring)
{
    if (input->kind == JSON_STRING)
        return give(run, outputs, input);
    struct output written = { 0 };
    json_write(&written, input, JSON_COMPACT);
    char *bytes = arena_allocate(run->arena, written.length, 1);
    memcpy(bytes, written.bytes, written.length);
    output_free(&written);
    struct text text = { bytes, written.length };
    return give(run, outputs, value_from_text(run->arena, text));
}

FUNCTION(run_tonumber)
{
    if (input->kind == JSON_NUMBER)
        return give(run, outputs, input);
    if (!needs(run, input, JSON_STRING, "tonumber"))
        return false;
    const struct value *number = NULL;
    struct scanner scanner = scanner_over(input->string.bytes, input->string.length, run->arena);
    if (!scan_number(&scanner, &number) || scanner.at != scanner.end)
        return run_error(run, "tonumber: the string is not a number");
    return give(run, outputs, number);
}

/* ---- parts of a value ----------------------------------------------------- */

FUNCTION(run_keys)
{
    struct list keys = { 0 };
    if (input->kind == JSON_ARRAY) {
        for (size_t i = 0; i < input->array.count; i++)
            list_push(run->arena, &keys, run_number(run, (double)i));
    } else if (input->kind == JSON_OBJECT) {
        const struct field *sorted = object_sorted(run->arena, &input->object);
        for (size_t i = 0; i < input->object.count; i++)
            list_push(run->arena, &keys, value_from_text(run->arena, sorted[i].key));
    } else {
        return run_error(run, "%s has no keys", kind_name(input));
    }
    return give(run, outputs, run_array(run, keys));
}

FUNCTION(run_has)
{
    struct list keys = { 0 };
    bool ok = filter_run(run, call->left, input, &keys);
    for (size_t i = 0; i < keys.count; i++) {
        const struct value *key = keys.items[i];
        bool found;
        if (input->kind == JSON_OBJECT && key->kind == JSON_STRING)
            found = object_get(&input->object, key->string) != NULL;
        else if (input->kind == JSON_ARRAY && key->kind == JSON_NUMBER)
            found = key->number.value >= 0 && key->number.value < (double)input->array.count;
        else
            return run_error(run, "%s cannot have a key that is %s", kind_name(input),
                             kind_name(key));
        list_push(run->arena, outputs, value_from_bool(found));
    }
    return ok;
}

FUNCTION(run_to_entries)
{
    struct list entries = { 0 };
    if (!needs(run, input, JSON_OBJECT, "to_entries"))
        return false;
    for (size_t i = 0; i < input->object.count; i++) {
        const struct field *field = &input->object.fields[i];
        struct object entry = { 0 };
        object_set(run->arena, &entry, text_from("key"), value_from_text(run->arena, field->key));
        object_set(run->arena, &entry, text_from("value"), field->value);
        const struct value *value = run_object(run, entry);
        if (value == NULL)
            return false;
        list_push(run->arena, &entries, value);
    }
    return give(run, outputs, run_array(run, entries));
}

FUNCTION(run_from_entries)
{
    struct object object = { 0 };
    if (!needs(run, input, JSON_ARRAY, "from_entries"))
        return false;
    for (size_t i = 0; i < input->array.count; i++) {
        const struct value *entry = input->array.items[i];
        if (!needs(run, entry, JSON_OBJECT, "an item of from_entries"))
            return false;
        const struct value *key = object_get(&entry->object, text_from("key"));
        const struct value *value = object_get(&entry->object, text_from("value"));
        if (key == NULL || !needs(run, key, JSON_STRING, "key in from_entries"))
            return run->failed ? false : run_error(run, "an item of from_entries has no key");
        object_set(run->arena, &object, key->string, value == NULL ? &json_null : value);
    }
    return give(run, outputs, run_object(run, object));
}

/* ---- about the items of an array ------------------------------------------ */

FUNCTION(run_select)
{
    struct list conditions = { 0 };
    bool ok = filter_run(run, call->left, input, &conditions);
    for (size_t i = 0; i < conditions.count; i++) {
        if (value_is_true(conditions.items[i]))
            list_push(run->arena, outputs, input);
    }
    return ok;
}

FUNCTION(run_map)
{
    struct list mapped = { 0 };
    const bool is_object = input->kind == JSON_OBJECT;
    if (!is_object && !needs(run, input, JSON_ARRAY, "map"))
        return false;
    size_t count = is_object ? input->object.count : input->array.count;
    for (size_t i = 0; i < count; i++) {
        const struct value *item = is_object ? input->object.fields[i].value
                                             : input->array.items[i];
        if (!filter_run(run, call->left, item, &mapped))
            return false;
    }
    return give(run, outputs, run_array(run, mapped));
}

/* A copy of the items, to be permuted. */
static struct list items_of(struct evaluation *run, const struct value *array)
{
    struct list items = { 0 };
    for (size_t i = 0; i < array->array.count; i++)
        list_push(run->arena, &items, array->array.items[i]);
    return items;
}

FUNCTION(run_sort)
{
    if (!needs(run, input, JSON_ARRAY, "sort"))
        return false;
    struct list items = items_of(run, input);
    values_sort(run->arena, items.items, items.items, items.count);
    return give(run, outputs, run_array(run, items));
}

FUNCTION(run_sort_by)
{
    if (!needs(run, input, JSON_ARRAY, "sort_by"))
        return false;
    struct list items = items_of(run, input), keys = { 0 };
    for (size_t i = 0; i < items.count; i++) {
        struct list parts = { 0 }; /* several outputs sort by the first, then the second, ... */
        if (!filter_run(run, call->left, items.items[i], &parts) ||
            !give(run, &keys, run_array(run, parts)))
            return false;
    }
    values_sort(run->arena, keys.items, items.items, items.count);
    return give(run, outputs, run_array(run, items));
}

FUNCTION(run_unique)
{
    if (!needs(run, input, JSON_ARRAY, "unique"))
        return false;
    struct list items = items_of(run, input), unique = { 0 };
    values_sort(run->arena, items.items, items.items, items.count);
    for (size_t i = 0; i < items.count; i++) {
        if (i == 0 || value_compare(run->arena, items.items[i - 1], items.items[i]) != 0)
            list_push(run->arena, &unique, items.items[i]);
    }
    return give(run, outputs, run_array(run, unique));
}

FUNCTION(run_reverse)
{
    struct list reversed = { 0 };
    if (!needs(run, input, JSON_ARRAY, "reverse"))
        return false;
    for (size_t i = input->array.count; i > 0; i--)
        list_push(run->arena, &reversed, input->array.items[i - 1]);
    return give(run, outputs, run_array(run, reversed));
}

static bool give_extreme(struct evaluation *run, const struct value *input, int sign,
                         const char *name, struct list *outputs)
{
    const struct value *best = &json_null;
    if (!needs(run, input, JSON_ARRAY, name))
        return false;
    for (size_t i = 0; i < input->array.count; i++) {
        const struct value *item = input->array.items[i];
        if (i == 0 || sign * value_compare(run->arena, item, best) > 0)
            best = item;
    }
    return give(run, outputs, best);
}

FUNCTION(run_min)
{
    return give_extreme(run, input, -1, "min", outputs);
}

FUNCTION(run_max)
{
    return give_extreme(run, input, 1, "max", outputs);
}

/* Strings one after the other with `separator` between them, in one go: adding
 * them one by one would copy the first part again for each of the others. */
static bool give_joined(struct evaluation *run, const struct value *input, struct text separator,
                        struct list *outputs)
{
    size_t length = 0;
    for (size_t i = 0; i < input->array.count; i++) {
        size_t more = input->array.items[i]->string.length + (i == 0 ? 0 : separator.length);
        if (more > SIZE_MAX - length)
            out_of_memory();
        length += more;
    }
    char *bytes = arena_allocate(run->arena, length, 1), *to = bytes;
    for (size_t i = 0; i < input->array.count; i++) {
        struct text part = input->array.items[i]->string;
        if (i > 0) {
            memcpy(to, separator.bytes, separator.length);
            to += separator.length;
        }
        memcpy(to, part.bytes, part.length);
        to += part.length;
    }
    struct text joined = { bytes, length };
    return give(run, outputs, value_from_text(run->arena, joined));
}

/* True if the array has items and all of them are of this kind. */
static bool all_are(const struct value *array, enum kind kind)
{
    for (size_t i = 0; i < array->array.count; i++) {
        if (array->array.items[i]->kind != kind)
            return false;
    }
    return array->array.count > 0;
}

FUNCTION(run_add)
{
    if (!needs(run, input, JSON_ARRAY, "add"))
        return false;
    if (all_are(input, JSON_STRING))
        return give_joined(run, input, text_from(""), outputs);
    if (all_are(input, JSON_ARRAY)) {
        struct list items = { 0 };
        for (size_t i = 0; i < input->array.count; i++) {
            const struct list *part = &input->array.items[i]->array;
            for (size_t j = 0; j < part->count; j++)
                list_push(run->arena, &items, part->items[j]);
        }
        return give(run, outputs, run_array(run, items));
    }
    const struct value *sum = &json_null;
    for (size_t i = 0; i < input->array.count && sum != NULL; i++)
        sum = arithmetic(run, OP_ADD, sum, input->array.items[i]);
    return give(run, outputs, sum);
}

FUNCTION(run_join)
{
    struct list separators = { 0 };
    if (!needs(run, input, JSON_ARRAY, "join"))
        return false;
    if (input->array.count > 0 && !all_are(input, JSON_STRING))
        return run_error(run, "join needs an array of strings");
    if (!filter_run(run, call->left, input, &separators))
        return false;
    for (size_t i = 0; i < separators.count; i++) {
        if (!needs(run, separators.items[i], JSON_STRING, "join's separator") ||
            !give_joined(run, input, separators.items[i]->string, outputs))
            return false;
    }
    return true;
}

/* ---- the table ------------------------------------------------------------ */

static const struct builtin builtins[] = {
    { "add", 0, run_add },           { "empty", 0, run_empty },
    { "from_entries", 0, run_from_entries }, { "has", 1, run_has },
    { "join", 1, run_join },         { "keys", 0, run_keys },
    { "length", 0, run_length },     { "map", 1, run_map },
    { "max", 0, run_max },           { "min", 0, run_min },
    { "not", 0, run_not },           { "reverse", 0, run_reverse },
    { "select", 1, run_select },     { "sort", 0, run_sort },
    { "sort_by", 1, run_sort_by },   { "to_entries", 0, run_to_entries },
    { "tonumber", 0, run_tonumber }, { "tostring", 0, run_tostring },
    { "type", 0, run_type },         { "unique", 0, run_unique },
};

const struct builtin *builtin_find(struct text name, unsigned arity)
{
    for (size_t i = 0; i < sizeof builtins / sizeof builtins[0]; i++) {
        if (builtins[i].arity == arity && text_compare(text_from(builtins[i].name), name) == 0)
            return &builtins[i];
    }
    return NULL;
}
