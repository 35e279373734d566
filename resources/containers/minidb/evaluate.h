/* Expressions and what they give. */

#ifndef MINIDB_EVALUATE_H
#define MINIDB_EVALUATE_H

#include "catalog.h"

/* What an aggregate has seen of the rows so far. */
struct aggregate_state {
    int64_t count;         /* of values that are not NULL, or of rows */
    struct value extreme;  /* for MIN and MAX */
    int64_t integer_sum;   /* while all values were integers */
    double real_sum;
    bool is_real;
    const struct expression *expression;
    struct aggregate_state *next;
};

struct evaluation {
    struct arena *arena; /* for results; emptied by the caller from row to row */
    struct error *error;
    const struct value *row; /* the values of the columns; NULL where there is no row */
};

/* Finds the columns the expression names. Without a table there are none. */
bool resolve_columns(struct expression *expression, const struct table *table,
                     struct error *error);

/* Adds a state for each aggregate in the expression to the list. With `allowed`
 * false, or inside of another aggregate, an aggregate is an error. */
bool collect_aggregates(struct expression *expression, bool allowed, struct arena *arena,
                        struct aggregate_state **states, struct error *error);

/* Whether the expression names columns outside of aggregates. */
bool uses_columns(const struct expression *expression);

bool evaluate(struct evaluation *evaluation, const struct expression *expression,
              struct value *result);

/* Whether a condition holds: it does not where it is NULL. */
bool evaluate_condition(struct evaluation *evaluation, const struct expression *expression,
                        bool *holds);

/* Takes the current row into account. Values that are kept go to `keep`. */
bool aggregate_row(struct evaluation *evaluation, struct aggregate_state *state,
                   struct arena *keep);

/* The operators. They fail with an error at the expression's place. */
bool calculate(struct evaluation *evaluation, const struct expression *expression,
               const struct value *left, const struct value *right, struct value *result);
bool call_function(struct evaluation *evaluation, const struct expression *expression,
                   const struct value *argument, struct value *result);
bool text_like(struct text text, struct text pattern);

#endif
