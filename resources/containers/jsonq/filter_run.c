/* Running a filter: one input in, any number of outputs out.
 *
 * Where an operator has two operands with several outputs each, the right one's
 * are the outer loop, as in jq: (1, 2) + (10, 20) gives 11, 12, 21, 22. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "filter.h"

bool run_error(struct evaluation *run, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(run->message, sizeof run->message, format, arguments);
    va_end(arguments);
    run->failed = true;
    return false;
}

const char *kind_name(const struct value *value)
{
    static const char *const names[] = { "null",   "boolean", "boolean", "number",
                                         "string", "array",   "object" };
    return names[value->kind];
}

const struct value *run_array(struct evaluation *run, struct list items)
{
    const struct value *array = value_from_list(run->arena, items);
    if (array == NULL)
        run_error(run, "more than %d arrays and objects in each other", DEPTH_LIMIT);
    return array;
}

const struct value *run_object(struct evaluation *run, struct object fields)
{
    const struct value *object = value_from_object(run->arena, fields);
    if (object == NULL)
        run_error(run, "more than %d arrays and objects in each other", DEPTH_LIMIT);
    return object;
}

const struct value *run_number(struct evaluation *run, double number)
{
    return value_from_double(run->arena, number);
}

/* Appends a result that is NULL after an error. */
static bool push(struct evaluation *run, struct list *outputs, const struct value *value)
{
    if (value == NULL)
        return false;
    list_push(run->arena, outputs, value);
    return true;
}

static bool run_index(struct evaluation *run, const struct filter *filter,
                      const struct value *input, struct list *outputs)
{
    struct list indices = { 0 };
    bool indices_ok = filter_run(run, filter->right, input, &indices);
    for (size_t i = 0; i < indices.count; i++) {
        struct list targets = { 0 };
        bool targets_ok = filter_run(run, filter->left, input, &targets);
        for (size_t j = 0; j < targets.count; j++) {
            if (!push(run, outputs, index_value(run, targets.items[j], indices.items[i])))
                return false;
        }
        if (!targets_ok)
            return false;
    }
    return indices_ok;
}

/* The outputs of a bound of a slice; null where the bound is missing. */
static bool run_bound(struct evaluation *run, const struct filter *bound,
                      const struct value *input, struct list *outputs)
{
    if (bound != NULL)
        return filter_run(run, bound, input, outputs);
    list_push(run->arena, outputs, &json_null);
    return true;
}

static bool run_slice(struct evaluation *run, const struct filter *filter,
                      const struct value *input, struct list *outputs)
{
    struct list from = { 0 }, to = { 0 }, targets = { 0 };
    if (!run_bound(run, filter->third, input, &to) ||
        !run_bound(run, filter->right, input, &from) ||
        !filter_run(run, filter->left, input, &targets))
        return false;
    for (size_t i = 0; i < to.count; i++) {
        for (size_t j = 0; j < from.count; j++) {
            for (size_t k = 0; k < targets.count; k++) {
                if (!push(run, outputs,
                          slice_value(run, targets.items[k], from.items[j], to.items[i])))
                    return false;
            }
        }
    }
    return true;
}

static bool run_iterate(struct evaluation *run, const struct filter *filter,
                        const struct value *input, struct list *outputs)
{
    struct list targets = { 0 };
    bool ok = filter_run(run, filter->left, input, &targets);
    for (size_t i = 0; i < targets.count; i++) {
        const struct value *target = targets.items[i];
        if (target->kind == JSON_ARRAY) {
            for (size_t j = 0; j < target->array.count; j++)
                list_push(run->arena, outputs, target->array.items[j]);
        } else if (target->kind == JSON_OBJECT) {
            for (size_t j = 0; j < target->object.count; j++)
                list_push(run->arena, outputs, target->object.fields[j].value);
        } else {
            return run_error(run, "cannot iterate over %s", kind_name(target));
        }
    }
    return ok;
}

static bool run_pipe(struct evaluation *run, const struct filter *filter,
                     const struct value *input, struct list *outputs)
{
    struct list middle = { 0 };
    bool ok = filter_run(run, filter->left, input, &middle);
    /* What came before an error goes on; if that fails too, its error is first. */
    for (size_t i = 0; i < middle.count; i++) {
        if (!filter_run(run, filter->right, middle.items[i], outputs))
            return false;
    }
    return ok;
}

/* left // right: the outputs of left that are true, or else those of right.
 * Errors of left count as no output. */
static bool run_alternative(struct evaluation *run, const struct filter *filter,
                            const struct value *input, struct list *outputs)
{
    struct list left = { 0 };
    size_t before = outputs->count;
    if (!filter_run(run, filter->left, input, &left))
        run->failed = false;
    for (size_t i = 0; i < left.count; i++) {
        if (value_is_true(left.items[i]))
            list_push(run->arena, outputs, left.items[i]);
    }
    return outputs->count > before || filter_run(run, filter->right, input, outputs);
}

static bool run_logic(struct evaluation *run, const struct filter *filter,
                      const struct value *input, struct list *outputs)
{
    bool decisive = filter->operation == OP_OR; /* the left value that settles it */
    struct list left = { 0 };
    bool ok = filter_run(run, filter->left, input, &left);
    for (size_t i = 0; i < left.count; i++) {
        if (value_is_true(left.items[i]) == decisive) {
            list_push(run->arena, outputs, value_from_bool(decisive));
            continue;
        }
        struct list right = { 0 };
        bool right_ok = filter_run(run, filter->right, input, &right);
        for (size_t j = 0; j < right.count; j++)
            list_push(run->arena, outputs, value_from_bool(value_is_true(right.items[j])));
        if (!right_ok)
            return false;
    }
    return ok;
}

static const struct value *apply(struct evaluation *run, enum operation operation,
                                 const struct value *left, const struct value *right)
{
    if (operation >= OP_ADD)
        return arithmetic(run, operation, left, right);
    int order = value_compare(run->arena, left, right);
    switch (operation) {
    case OP_EQUAL:
        return value_from_bool(order == 0);
    case OP_NOT_EQUAL:
        return value_from_bool(order != 0);
    case OP_LESS:
        return value_from_bool(order < 0);
    case OP_LESS_OR_EQUAL:
        return value_from_bool(order <= 0);
    case OP_GREATER:
        return value_from_bool(order > 0);
    default:
        return value_from_bool(order >= 0);
    }
}

static bool run_binary(struct evaluation *run, const struct filter *filter,
                       const struct value *input, struct list *outputs)
{
    struct list left = { 0 }, right = { 0 };
    if (!filter_run(run, filter->right, input, &right) ||
        !filter_run(run, filter->left, input, &left))
        return false;
    for (size_t i = 0; i < right.count; i++) {
        for (size_t j = 0; j < left.count; j++) {
            if (!push(run, outputs,
                      apply(run, filter->operation, left.items[j], right.items[i])))
                return false;
        }
    }
    return true;
}

static bool run_negate(struct evaluation *run, const struct filter *filter,
                       const struct value *input, struct list *outputs)
{
    struct list operands = { 0 };
    bool ok = filter_run(run, filter->left, input, &operands);
    for (size_t i = 0; i < operands.count; i++) {
        if (operands.items[i]->kind != JSON_NUMBER)
            return run_error(run, "cannot negate %s", kind_name(operands.items[i]));
        push(run, outputs, run_number(run, -operands.items[i]->number.value));
    }
    return ok;
}

static bool run_array_filter(struct evaluation *run, const struct filter *filter,
                             const struct value *input, struct list *outputs)
{
    struct list items = { 0 };
    if (filter->left != NULL && !filter_run(run, filter->left, input, &items))
        return false;
    return push(run, outputs, run_array(run, items));
}

/* Appends to `grown` a copy of each object with each of the entry's keys set to
 * each of its values. */
static bool run_entry(struct evaluation *run, const struct entry *entry,
                      const struct value *input, const struct list *objects, struct list *grown)
{
    struct list keys = { 0 }, values = { 0 };
    if (!filter_run(run, entry->key, input, &keys) ||
        !filter_run(run, entry->value, input, &values))
        return false;
    for (size_t i = 0; i < keys.count; i++) {
        if (keys.items[i]->kind != JSON_STRING)
            return run_error(run, "an object's key cannot be %s", kind_name(keys.items[i]));
        for (size_t j = 0; j < values.count; j++) {
            for (size_t k = 0; k < objects->count; k++) {
                struct object object = object_copy(run->arena, &objects->items[k]->object);
                object_set(run->arena, &object, keys.items[i]->string, values.items[j]);
                if (!push(run, grown, run_object(run, object)))
                    return false;
            }
        }
    }
    return true;
}

/* For several keys or values one object each; the first entry varies fastest. */
static bool run_object_filter(struct evaluation *run, const struct filter *filter,
                              const struct value *input, struct list *outputs)
{
    struct list objects = { 0 };
    push(run, &objects, run_object(run, (struct object){ 0 }));
    for (const struct entry *entry = filter->entries; entry != NULL; entry = entry->next) {
        struct list grown = { 0 };
        if (!run_entry(run, entry, input, &objects, &grown))
            return false;
        objects = grown;
    }
    for (size_t i = 0; i < objects.count; i++)
        push(run, outputs, objects.items[i]);
    return true;
}

bool filter_run(struct evaluation *run, const struct filter *filter, const struct value *input,
                struct list *outputs)
{
    switch (filter->operation) {
    case OP_IDENTITY:
        return push(run, outputs, input);
    case OP_LITERAL:
        return push(run, outputs, filter->literal);
    case OP_INDEX:
        return run_index(run, filter, input, outputs);
    case OP_SLICE:
        return run_slice(run, filter, input, outputs);
    case OP_ITERATE:
        return run_iterate(run, filter, input, outputs);
    case OP_TRY:
        if (!filter_run(run, filter->left, input, outputs))
            run->failed = false;
        return true;
    case OP_PIPE:
        return run_pipe(run, filter, input, outputs);
    case OP_COMMA:
        return filter_run(run, filter->left, input, outputs) &&
               filter_run(run, filter->right, input, outputs);
    case OP_ALTERNATIVE:
        return run_alternative(run, filter, input, outputs);
    case OP_OR:
    case OP_AND:
        return run_logic(run, filter, input, outputs);
    case OP_NEGATE:
        return run_negate(run, filter, input, outputs);
    case OP_ARRAY:
        return run_array_filter(run, filter, input, outputs);
    case OP_OBJECT:
        return run_object_filter(run, filter, input, outputs);
    case OP_CALL:
        return filter->function->run(run, filter, input, outputs);
    default:
        return run_binary(run, filter, input, outputs);
    }
}
