/* Filters: what a program in the language is, how it is read, how it runs. */

#ifndef JSONQ_FILTER_H
#define JSONQ_FILTER_H

#include "scan.h"

enum operation {
    OP_IDENTITY,    /* . */
    OP_LITERAL,     /* "text", 1.5, true */
    OP_INDEX,       /* left[right], and left.name with a literal right */
    OP_SLICE,       /* left[right:third], either bound may be missing */
    OP_ITERATE,     /* left[] */
    OP_TRY,         /* left? */
    OP_PIPE,        /* left | right */
    OP_COMMA,       /* left , right */
    OP_ALTERNATIVE, /* left // right */
    OP_OR,
    OP_AND,
    OP_EQUAL,
    OP_NOT_EQUAL,
    OP_LESS,
    OP_LESS_OR_EQUAL,
    OP_GREATER,
    OP_GREATER_OR_EQUAL,
    OP_ADD,
    OP_SUBTRACT,
    OP_MULTIPLY,
    OP_DIVIDE,
    OP_REMAINDER,
    OP_NEGATE, /* -left */
    OP_ARRAY,  /* [left], or [] without left */
    OP_OBJECT, /* {...} */
    OP_CALL,   /* name(left; right) */
};

struct filter {
    enum operation operation;
    unsigned depth; /* at most DEPTH_LIMIT; running a filter recurses this far */
    const struct filter *left, *right, *third;
    const struct value *literal;    /* OP_LITERAL */
    const struct entry *entries;    /* OP_OBJECT */
    const struct builtin *function; /* OP_CALL */
};

struct entry {
    const struct filter *key, *value;
    const struct entry *next;
};

/* One run of a filter over one input. */
struct evaluation {
    struct arena *arena;
    bool failed;
    char message[200];
};

struct builtin {
    const char *name;
    unsigned arity; /* arguments: left, then right */
    bool (*run)(struct evaluation *run, const struct filter *call, const struct value *input,
                struct list *outputs);
};

/* Reads a whole filter. NULL with `scanner->error` set if it is not one. */
const struct filter *filter_parse(struct scanner *scanner);

/* Appends what the filter makes of the input. False on an error; the outputs
 * made until then stay. */
bool filter_run(struct evaluation *run, const struct filter *filter, const struct value *input,
                struct list *outputs);

/* NULL if there is no such function. */
const struct builtin *builtin_find(struct text name, unsigned arity);

/* Notes what went wrong. Always false. */
bool run_error(struct evaluation *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The kind of a value in words: null, boolean, number, string, array, object. */
const char *kind_name(const struct value *value);

/* An array or object as a value; an error if it would nest too deeply. */
const struct value *run_array(struct evaluation *run, struct list items);
const struct value *run_object(struct evaluation *run, struct object object);

/* The number a calculation gave, as a value. */
const struct value *run_number(struct evaluation *run, double number);

/* left + right, and so on for - * / %. NULL after an error. */
const struct value *arithmetic(struct evaluation *run, enum operation operation,
                               const struct value *left, const struct value *right);

/* input[index]. NULL after an error. */
const struct value *index_value(struct evaluation *run, const struct value *input,
                                const struct value *index);

/* input[from:to]; a bound that is null is missing. NULL after an error. */
const struct value *slice_value(struct evaluation *run, const struct value *input,
                                const struct value *from, const struct value *to);

#endif
