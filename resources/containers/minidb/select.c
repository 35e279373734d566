/* SELECT: rows, or one row about all of them, in the order wanted. */

#include <stdio.h>
#include <string.h>

#include "scan.h"

struct selection {
    struct database *database;
    struct statement *statement;
    struct table table; /* means something if the statement has FROM */
    bool has_table;
    struct expression **outputs;
    int output_count;
    struct expression **keys; /* of ORDER BY */
    bool *descending;
    int key_count;
    struct aggregate_state *aggregates;
    int64_t limit, offset; /* rows still to print, and before that to leave out */
};

/* ---- preparing ------------------------------------------------------------ */

static struct expression *column_expression(struct selection *selection, int column)
{
    struct expression *expression =
        arena_allocate(&selection->database->statement_arena, 1, sizeof *expression);
    memset(expression, 0, sizeof *expression);
    expression->kind = EXPRESSION_COLUMN;
    expression->name = selection->table.columns[column].name;
    return expression;
}

/* The expressions of the outputs, with * replaced by the table's columns. */
static bool expand_outputs(struct selection *selection)
{
    int count = 0;
    for (const struct output_column *output = selection->statement->outputs; output != NULL;
         output = output->next)
        count += output->expression == NULL ? MAX_COLUMNS : 1;
    selection->outputs = arena_allocate(&selection->database->statement_arena, (size_t)count,
                                        sizeof *selection->outputs);
    for (struct output_column *output = selection->statement->outputs; output != NULL;
         output = output->next) {
        if (output->expression == NULL && !selection->has_table)
            return fail_sql(selection->database->error, 0, "* without FROM");
        if (output->expression != NULL)
            selection->outputs[selection->output_count++] = output->expression;
        for (int i = 0; output->expression == NULL && i < selection->table.column_count; i++)
            selection->outputs[selection->output_count++] = column_expression(selection, i);
    }
    return true;
}

/* What to order by: the number or the alias of an output stands for the output. */
static bool find_key(struct selection *selection, struct expression *expression,
                     struct expression **key)
{
    *key = expression;
    if (expression->kind == EXPRESSION_LITERAL) {
        int64_t number = expression->literal.type == VALUE_INTEGER ? expression->literal.integer : 0;
        if (number < 1 || number > selection->output_count)
            return fail_sql(selection->database->error, expression->offset,
                            "there is no such column in the output");
        *key = selection->outputs[number - 1];
    } else if (expression->kind == EXPRESSION_COLUMN) {
        for (const struct output_column *output = selection->statement->outputs; output != NULL;
             output = output->next) {
            if (output->alias.length > 0 && text_same_name(output->alias, expression->name))
                *key = output->expression;
        }
    }
    return true;
}

static bool find_keys(struct selection *selection)
{
    struct arena *arena = &selection->database->statement_arena;
    size_t count = 0;
    for (const struct ordering *at = selection->statement->orderings; at != NULL; at = at->next)
        count++;
    selection->keys = arena_allocate(arena, count, sizeof *selection->keys);
    selection->descending = arena_allocate(arena, count, sizeof *selection->descending);
    for (const struct ordering *at = selection->statement->orderings; at != NULL; at = at->next) {
        if (!find_key(selection, at->expression, &selection->keys[selection->key_count]))
            return false;
        selection->descending[selection->key_count++] = at->descending;
    }
    return true;
}

/* Resolves names in an expression and finds its aggregates. */
static bool prepare(struct selection *selection, struct expression *expression, bool aggregates)
{
    struct database *database = selection->database;
    return resolve_columns(expression, selection->has_table ? &selection->table : NULL,
                           database->error) &&
           collect_aggregates(expression, aggregates, &database->statement_arena,
                              &selection->aggregates, database->error);
}

/* A number of rows: LIMIT's or OFFSET's value. */
static bool find_count(struct selection *selection, struct expression *expression, int64_t *count)
{
    struct evaluation evaluation = evaluation_of(selection->database, NULL);
    struct value value;
    if (expression == NULL)
        return true;
    if (!resolve_columns(expression, NULL, selection->database->error) ||
        !collect_aggregates(expression, false, &selection->database->statement_arena,
                            &selection->aggregates, selection->database->error) ||
        !evaluate(&evaluation, expression, &value))
        return false;
    if (value.type != VALUE_INTEGER || value.integer < 0)
        return fail_sql(selection->database->error, expression->offset,
                        "a number of rows has to be an integer from 0");
    *count = value.integer;
    return true;
}

static bool prepare_all(struct selection *selection)
{
    struct statement *statement = selection->statement;
    selection->has_table = statement->table.length > 0;
    selection->limit = INT64_MAX;
    if (selection->has_table &&
        !database_find_table(selection->database, statement, &selection->table))
        return false;
    if (!expand_outputs(selection) || !find_keys(selection) ||
        !find_count(selection, statement->limit, &selection->limit) ||
        !find_count(selection, statement->offset, &selection->offset) ||
        !prepare(selection, statement->where, false))
        return false;
    for (int i = 0; i < selection->output_count; i++) {
        if (!prepare(selection, selection->outputs[i], true))
            return false;
    }
    for (int i = 0; i < selection->key_count; i++) {
        if (!prepare(selection, selection->keys[i], true))
            return false;
    }
    for (int i = 0; i < selection->output_count && selection->aggregates != NULL; i++) {
        if (uses_columns(selection->outputs[i]))
            return fail_sql(selection->database->error, selection->outputs[i]->offset,
                            "a column outside of an aggregate, beside an aggregate");
    }
    return true;
}

/* ---- printing ------------------------------------------------------------- */

static void print_row(struct selection *selection, const struct value *values)
{
    for (int i = 0; i < selection->output_count; i++) {
        struct text text = value_to_text(&selection->database->row_arena, &values[i]);
        if (i > 0)
            putchar('|');
        if (text.length > 0)
            fwrite(text.bytes, 1, text.length, stdout);
    }
    putchar('\n');
}

/* Prints a row if OFFSET and LIMIT say so. */
static void offer_row(struct selection *selection, const struct value *values)
{
    if (selection->offset > 0) {
        selection->offset--;
    } else if (selection->limit > 0) {
        selection->limit--;
        print_row(selection, values);
    }
}

static bool evaluate_all(struct selection *selection, const struct value *row,
                         struct expression *const *expressions, int count, struct value *values)
{
    struct evaluation evaluation = evaluation_of(selection->database, row);
    for (int i = 0; i < count; i++) {
        if (!evaluate(&evaluation, expressions[i], &values[i]))
            return false;
    }
    return true;
}

static struct value *new_values(struct selection *selection, int count)
{
    return arena_allocate(&selection->database->statement_arena, (size_t)count,
                          sizeof(struct value));
}

/* ---- the three ways to go through the rows -------------------------------- */

static bool select_aggregates(struct selection *selection)
{
    struct database *database = selection->database;
    struct value *values = new_values(selection, selection->output_count);
    struct scan scan;
    bool found = true;
    if (selection->has_table &&
        !scan_start(&scan, database, &selection->table, selection->statement->where))
        return false;
    while (selection->has_table) {
        if (!scan_next(&scan, &found))
            return false;
        if (!found)
            break;
        struct evaluation evaluation = evaluation_of(database, scan.row);
        for (struct aggregate_state *at = selection->aggregates; at != NULL; at = at->next) {
            if (!aggregate_row(&evaluation, at, &database->statement_arena))
                return false;
        }
    }
    if (!evaluate_all(selection, NULL, selection->outputs, selection->output_count, values))
        return false;
    offer_row(selection, values);
    return true;
}

static bool select_in_order_of_key(struct selection *selection)
{
    struct value *values = new_values(selection, selection->output_count);
    struct scan scan;
    bool found;
    if (!scan_start(&scan, selection->database, &selection->table, selection->statement->where))
        return false;
    while (selection->limit > 0) {
        if (!scan_next(&scan, &found))
            return false;
        if (!found)
            break;
        if (!evaluate_all(selection, scan.row, selection->outputs, selection->output_count, values))
            return false;
        offer_row(selection, values);
    }
    return true;
}

struct sorted_row {
    const struct value *keys;
    const struct value *values;
};

static int compare_rows(const struct selection *selection, const struct sorted_row *a,
                        const struct sorted_row *b)
{
    for (int i = 0; i < selection->key_count; i++) {
        int order = value_compare(&a->keys[i], &b->keys[i]);
        if (order != 0)
            return selection->descending[i] ? -order : order;
    }
    return 0;
}

/* Keeps equal rows in their order, so that the output does not depend on chance. */
static void merge_sort(const struct selection *selection, struct sorted_row *rows,
                       struct sorted_row *scratch, size_t count)
{
    if (count < 2)
        return;
    size_t middle = count / 2, left = 0, right = middle;
    merge_sort(selection, rows, scratch, middle);
    merge_sort(selection, rows + middle, scratch, count - middle);
    memcpy(scratch, rows, count * sizeof *rows);
    for (size_t to = 0; to < count; to++) {
        bool take_right = left == middle || (right < count && compare_rows(selection, &scratch[right],
                                                                           &scratch[left]) < 0);
        rows[to] = scratch[take_right ? right++ : left++];
    }
}

/* Evaluates expressions over a row into values that stay until the statement ends. */
static const struct value *keep_values(struct selection *selection, const struct value *row,
                                       struct expression *const *expressions, int count)
{
    struct value *values = new_values(selection, count);
    if (!evaluate_all(selection, row, expressions, count, values))
        return NULL;
    for (int i = 0; i < count; i++)
        values[i] = value_copy(&selection->database->statement_arena, &values[i]);
    return values;
}

static bool select_sorted(struct selection *selection)
{
    struct arena *arena = &selection->database->statement_arena;
    struct sorted_row *rows = NULL;
    size_t count = 0, capacity = 0;
    struct scan scan;
    bool found;
    if (!scan_start(&scan, selection->database, &selection->table, selection->statement->where))
        return false;
    for (;;) {
        if (!scan_next(&scan, &found))
            return false;
        if (!found)
            break;
        if (count == capacity) {
            struct sorted_row *moved;
            capacity = capacity == 0 ? 64 : capacity * 2;
            moved = arena_allocate(arena, capacity, sizeof *moved);
            if (count > 0)
                memcpy(moved, rows, count * sizeof *moved);
            rows = moved;
        }
        rows[count].keys = keep_values(selection, scan.row, selection->keys, selection->key_count);
        rows[count].values =
            keep_values(selection, scan.row, selection->outputs, selection->output_count);
        if (rows[count].keys == NULL || rows[count].values == NULL)
            return false;
        count++;
    }
    merge_sort(selection, rows, arena_allocate(arena, count, sizeof *rows), count);
    for (size_t i = 0; i < count && selection->limit > 0; i++) {
        offer_row(selection, rows[i].values);
        arena_reset(&selection->database->row_arena);
    }
    return true;
}

bool run_select(struct database *database, struct statement *statement)
{
    struct selection selection = { .database = database, .statement = statement };
    if (!prepare_all(&selection))
        return false;
    if (selection.aggregates != NULL)
        return select_aggregates(&selection);
    if (selection.has_table && selection.key_count > 0)
        return select_sorted(&selection);
    if (selection.has_table)
        return select_in_order_of_key(&selection);

    /* Without FROM there is one row, of no columns. */
    struct value *values = new_values(&selection, selection.output_count);
    struct evaluation evaluation = evaluation_of(database, NULL);
    bool matches;
    if (!evaluate_condition(&evaluation, statement->where, &matches) ||
        !evaluate_all(&selection, NULL, selection.outputs, selection.output_count, values))
        return false;
    if (matches)
        offer_row(&selection, values);
    return true;
}
