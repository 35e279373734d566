#include "evaluate.h"

#include <string.h>

/* ---- before the first row ------------------------------------------------- */

bool resolve_columns(struct expression *expression, const struct table *table,
                     struct error *error)
{
    if (expression == NULL)
        return true;
    if (expression->kind == EXPRESSION_COLUMN) {
        expression->column = -1;
        for (int i = 0; table != NULL && i < table->column_count; i++) {
            if (text_same_name(table->columns[i].name, expression->name))
                expression->column = i;
        }
        int shown = expression->name.length < 40 ? (int)expression->name.length : 40;
        if (expression->column == -1)
            return fail_sql(error, expression->offset, "no such column: %.*s", shown,
                            expression->name.bytes);
    }
    for (struct expression *item = expression->items; item != NULL; item = item->next) {
        if (!resolve_columns(item, table, error))
            return false;
    }
    return resolve_columns(expression->left, table, error) &&
           resolve_columns(expression->right, table, error);
}

bool collect_aggregates(struct expression *expression, bool allowed, struct arena *arena,
                        struct aggregate_state **states, struct error *error)
{
    if (expression == NULL || expression->state != NULL)
        return true;
    if (expression->kind == EXPRESSION_AGGREGATE) {
        if (!allowed)
            return fail_sql(error, expression->offset, "an aggregate makes no sense here");
        struct aggregate_state *state = arena_allocate(arena, 1, sizeof *state);
        memset(state, 0, sizeof *state);
        state->expression = expression;
        state->next = *states;
        *states = state;
        expression->state = state;
        return collect_aggregates(expression->left, false, arena, states, error);
    }
    for (struct expression *item = expression->items; item != NULL; item = item->next) {
        if (!collect_aggregates(item, allowed, arena, states, error))
            return false;
    }
    return collect_aggregates(expression->left, allowed, arena, states, error) &&
           collect_aggregates(expression->right, allowed, arena, states, error);
}

bool uses_columns(const struct expression *expression)
{
    if (expression == NULL || expression->kind == EXPRESSION_AGGREGATE)
        return false;
    for (const struct expression *item = expression->items; item != NULL; item = item->next) {
        if (uses_columns(item))
            return true;
    }
    return expression->kind == EXPRESSION_COLUMN || uses_columns(expression->left) ||
           uses_columns(expression->right);
}

/* ---- three-valued logic --------------------------------------------------- */

enum truth { IS_FALSE, IS_TRUE, IS_UNKNOWN };

/* Numbers other than 0 are true. Texts are no conditions. */
static bool truth_of(struct evaluation *evaluation, const struct expression *expression,
                     enum truth *truth)
{
    struct value value;
    if (!evaluate(evaluation, expression, &value))
        return false;
    if (value.type == VALUE_TEXT)
        return fail_sql(evaluation->error, expression->offset, "a text is not a condition");
    *truth = value.type == VALUE_NULL     ? IS_UNKNOWN
             : value_as_real(&value) != 0 ? IS_TRUE
                                          : IS_FALSE;
    return true;
}

static struct value value_from_truth(enum truth truth)
{
    return truth == IS_UNKNOWN ? value_null() : value_from_integer(truth == IS_TRUE);
}

static bool evaluate_logic(struct evaluation *evaluation, const struct expression *expression,
                           struct value *result)
{
    /* The truth of one side that decides about both. */
    enum truth decisive = expression->kind == EXPRESSION_AND ? IS_FALSE : IS_TRUE, left, right;
    if (!truth_of(evaluation, expression->left, &left))
        return false;
    if (left == decisive) {
        *result = value_from_truth(left);
        return true;
    }
    if (!truth_of(evaluation, expression->right, &right))
        return false;
    *result = value_from_truth(right == decisive || left != IS_UNKNOWN ? right : left);
    return true;
}

static bool evaluate_in(struct evaluation *evaluation, const struct expression *expression,
                        struct value *result)
{
    enum truth truth = IS_FALSE;
    struct value wanted, item;
    if (!evaluate(evaluation, expression->left, &wanted))
        return false;
    for (const struct expression *at = expression->items; at != NULL && truth != IS_TRUE;
         at = at->next) {
        if (!evaluate(evaluation, at, &item))
            return false;
        if (wanted.type == VALUE_NULL || item.type == VALUE_NULL)
            truth = IS_UNKNOWN;
        else if (value_compare(&wanted, &item) == 0)
            truth = IS_TRUE;
    }
    *result = value_from_truth(truth);
    return true;
}

static bool holds(enum expression_kind kind, int order)
{
    switch (kind) {
    case EXPRESSION_EQUAL:
        return order == 0;
    case EXPRESSION_NOT_EQUAL:
        return order != 0;
    case EXPRESSION_LESS:
        return order < 0;
    case EXPRESSION_LESS_OR_EQUAL:
        return order <= 0;
    case EXPRESSION_GREATER:
        return order > 0;
    default:
        return order >= 0;
    }
}

/* ---- evaluating ----------------------------------------------------------- */

static bool evaluate_binary(struct evaluation *evaluation, const struct expression *expression,
                            struct value *result)
{
    struct value left, right;
    if (!evaluate(evaluation, expression->left, &left) ||
        !evaluate(evaluation, expression->right, &right))
        return false;
    if (left.type == VALUE_NULL || right.type == VALUE_NULL) {
        *result = value_null();
        return true;
    }
    if (expression->kind >= EXPRESSION_EQUAL && expression->kind <= EXPRESSION_GREATER_OR_EQUAL) {
        *result = value_from_integer(holds(expression->kind, value_compare(&left, &right)));
        return true;
    }
    return calculate(evaluation, expression, &left, &right, result);
}

static bool evaluate_unary(struct evaluation *evaluation, const struct expression *expression,
                           struct value *result)
{
    struct value operand;
    enum truth truth;
    if (expression->kind == EXPRESSION_NOT) {
        if (!truth_of(evaluation, expression->left, &truth))
            return false;
        *result = value_from_truth(truth == IS_UNKNOWN ? truth
                                   : truth == IS_TRUE  ? IS_FALSE
                                                       : IS_TRUE);
        return true;
    }
    if (!evaluate(evaluation, expression->left, &operand))
        return false;
    if (expression->kind == EXPRESSION_IS_NULL) {
        *result = value_from_integer(operand.type == VALUE_NULL);
        return true;
    }
    if (operand.type == VALUE_NULL) {
        *result = operand;
        return true;
    }
    if (expression->kind == EXPRESSION_FUNCTION)
        return call_function(evaluation, expression, &operand, result);
    /* -x is 0 - x, but for the sign of a zero. */
    if (operand.type == VALUE_REAL) {
        *result = value_from_real(-operand.real);
        return true;
    }
    struct value zero = value_from_integer(0);
    return calculate(evaluation, expression, &zero, &operand, result);
}

static void finish_aggregate(const struct aggregate_state *state, struct value *result)
{
    switch (state->expression->aggregate) {
    case AGGREGATE_COUNT:
        *result = value_from_integer(state->count);
        break;
    case AGGREGATE_SUM:
        *result = state->count == 0 ? value_null()
                  : state->is_real  ? value_from_real(state->real_sum)
                                    : value_from_integer(state->integer_sum);
        break;
    case AGGREGATE_AVG:
        *result = state->count == 0 ? value_null()
                                    : value_from_real(state->real_sum / (double)state->count);
        break;
    default:
        *result = state->count == 0 ? value_null() : state->extreme;
    }
}

bool evaluate(struct evaluation *evaluation, const struct expression *expression,
              struct value *result)
{
    switch (expression->kind) {
    case EXPRESSION_LITERAL:
        *result = expression->literal;
        return true;
    case EXPRESSION_COLUMN:
        *result = evaluation->row[expression->column];
        return true;
    case EXPRESSION_AND:
    case EXPRESSION_OR:
        return evaluate_logic(evaluation, expression, result);
    case EXPRESSION_IN:
        return evaluate_in(evaluation, expression, result);
    case EXPRESSION_NOT:
    case EXPRESSION_NEGATE:
    case EXPRESSION_IS_NULL:
    case EXPRESSION_FUNCTION:
        return evaluate_unary(evaluation, expression, result);
    case EXPRESSION_AGGREGATE:
        finish_aggregate(expression->state, result);
        return true;
    default:
        return evaluate_binary(evaluation, expression, result);
    }
}

bool evaluate_condition(struct evaluation *evaluation, const struct expression *expression,
                        bool *is_true)
{
    enum truth truth = IS_TRUE;
    if (expression != NULL && !truth_of(evaluation, expression, &truth))
        return false;
    *is_true = truth == IS_TRUE;
    return true;
}

/* ---- aggregates ----------------------------------------------------------- */

static bool add_to_sum(struct evaluation *evaluation, struct aggregate_state *state,
                       const struct value *value)
{
    const struct expression *expression = state->expression;
    if (!value_is_number(value))
        return fail_sql(evaluation->error, expression->offset, "a text cannot be summed up");
    state->is_real = state->is_real || value->type == VALUE_REAL;
    state->real_sum += value_as_real(value);
    /* The integer sum is not needed any more once a real was seen. */
    if (!state->is_real && expression->aggregate == AGGREGATE_SUM &&
        __builtin_add_overflow(state->integer_sum, value->integer, &state->integer_sum))
        return fail_sql(evaluation->error, expression->offset, "integer overflow");
    return true;
}

bool aggregate_row(struct evaluation *evaluation, struct aggregate_state *state,
                   struct arena *keep)
{
    const struct expression *expression = state->expression;
    struct value value;
    if (expression->left == NULL) { /* COUNT(*) */
        state->count++;
        return true;
    }
    if (!evaluate(evaluation, expression->left, &value))
        return false;
    if (value.type == VALUE_NULL)
        return true;
    if (expression->aggregate == AGGREGATE_SUM || expression->aggregate == AGGREGATE_AVG) {
        if (!add_to_sum(evaluation, state, &value))
            return false;
    } else if (expression->aggregate != AGGREGATE_COUNT) {
        int order = state->count == 0 ? 0 : value_compare(&value, &state->extreme);
        if (state->count == 0 || (expression->aggregate == AGGREGATE_MIN ? order < 0 : order > 0))
            state->extreme = value_copy(keep, &value);
    }
    state->count++;
    return true;
}
