#include "program.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "utf8.h"

bool assertion_holds(enum assertion assertion, enum neighbour before, enum neighbour after)
{
    switch (assertion) {
    case AT_LINE_START:
        return before == LINE_EDGE;
    case AT_LINE_END:
        return after == LINE_EDGE;
    case AT_WORD_EDGE:
        return (before == WORD_BYTE) != (after == WORD_BYTE);
    case NOT_AT_WORD_EDGE:
        return (before == WORD_BYTE) == (after == WORD_BYTE);
    case NO_WORD_BEFORE:
        return before != WORD_BYTE;
    default:
        return after != WORD_BYTE;
    }
}

/* ---- compiling ------------------------------------------------------------ */

/* Stands for a program that has become too large; where it is passed on, nothing
 * more is added. */
enum { TOO_LARGE = -1 };

/* Compiling goes back to front: every function is told where to go on after its
 * part, and returns where its part starts. */
static int compile(struct program *program, const struct node *node, int next);

static int add(struct program *program, struct instruction instruction)
{
    if (program->count == MAX_INSTRUCTIONS)
        return TOO_LARGE;
    if (program->count == program->capacity) {
        program->capacity = program->capacity == 0 ? 64 : program->capacity * 2;
        program->instructions = allocate(program->instructions, (size_t)program->capacity,
                                         sizeof *program->instructions);
    }
    program->instructions[program->count] = instruction;
    return program->count++;
}

static int add_split(struct program *program, int next, int other)
{
    if (next == TOO_LARGE || other == TOO_LARGE)
        return TOO_LARGE;
    return add(program, (struct instruction){ .opcode = OP_SPLIT,
                                              .next = (uint16_t)next,
                                              .other = (uint16_t)other });
}

struct set_compilation {
    struct program *program;
    int next;
    int start; /* of the choices so far */
    bool any;
};

static void compile_sequence_of_bytes(void *context, const struct utf8_sequence *sequence)
{
    struct set_compilation *set = context;
    int start = set->next;
    for (int i = sequence->length - 1; i >= 0 && start != TOO_LARGE; i--)
        start = add(set->program, (struct instruction){ .opcode = OP_BYTE,
                                                        .first = sequence->first[i],
                                                        .last = sequence->last[i],
                                                        .next = (uint16_t)start });
    set->start = set->any ? add_split(set->program, start, set->start) : start;
    set->any = true;
}

static int compile_set(struct program *program, const struct charset *set, int next)
{
    struct charset tidy = { 0 };
    struct set_compilation compilation = { .program = program, .next = next };
    charset_add_set(&tidy, set);
    charset_tidy(&tidy);
    for (size_t i = 0; i < tidy.count && compilation.start != TOO_LARGE; i++)
        utf8_sequences(tidy.ranges[i].first, tidy.ranges[i].last, compile_sequence_of_bytes,
                       &compilation);
    charset_free(&tidy);
    if (compilation.any)
        return compilation.start;
    /* An empty set, as [^\x00-\U10FFFF] would be: a byte there is none of. */
    return add(program, (struct instruction){ .opcode = OP_BYTE, .first = 1, .last = 0 });
}

static int compile_repeat(struct program *program, const struct node *node, int next)
{
    const struct node *child = node->last;
    int start = next, required = node->minimum;
    if (node->maximum == UNLIMITED) {
        int loop = add_split(program, next, next);
        int body = loop == TOO_LARGE ? TOO_LARGE : compile(program, child, loop);
        if (body == TOO_LARGE)
            return TOO_LARGE;
        program->instructions[loop].next = (uint16_t)body;
        start = required > 0 ? body : loop;
        required -= required > 0;
    } else {
        for (int i = node->minimum; i < node->maximum && start != TOO_LARGE; i++)
            start = add_split(program, compile(program, child, start), next);
    }
    for (int i = 0; i < required && start != TOO_LARGE; i++)
        start = compile(program, child, start);
    return start;
}

static int compile(struct program *program, const struct node *node, int next)
{
    if (next == TOO_LARGE)
        return TOO_LARGE;
    switch (node->kind) {
    case NODE_EMPTY: /* takes room, or repeating it would have no limit */
        return add(program, (struct instruction){ .opcode = OP_JUMP, .next = (uint16_t)next });
    case NODE_SET:
        return compile_set(program, &node->set, next);
    case NODE_ASSERTION:
        program->has_assertions = true;
        return add(program, (struct instruction){ .opcode = OP_ASSERTION,
                                                  .assertion = (uint8_t)node->assertion,
                                                  .next = (uint16_t)next });
    case NODE_SEQUENCE:
        for (const struct node *child = node->last; child != NULL; child = child->previous)
            next = compile(program, child, next);
        return next;
    case NODE_CHOICE: {
        int start = compile(program, node->last, next);
        for (const struct node *child = node->last->previous; child != NULL;
             child = child->previous)
            start = add_split(program, compile(program, child, next), start);
        return start;
    }
    default:
        return compile_repeat(program, node, next);
    }
}

void program_init(struct program *program)
{
    memset(program, 0, sizeof *program);
    add(program, (struct instruction){ .opcode = OP_MATCH });
    program->start = add(program, (struct instruction){ .opcode = OP_BYTE, .first = 1, .last = 0 });
}

bool program_add(struct program *program, const struct node *pattern)
{
    int start = add_split(program, compile(program, pattern, 0), program->start);
    if (start == TOO_LARGE)
        return false;
    program->start = start;
    return true;
}

/* ---- following ------------------------------------------------------------ */

struct places places_new(const struct program *program)
{
    struct places places = { 0 };
    places.list = allocate(NULL, (size_t)program->count, sizeof *places.list);
    places.position = allocate(NULL, (size_t)program->count, sizeof *places.position);
    memset(places.position, 0, (size_t)program->count * sizeof *places.position);
    return places;
}

void places_follow(const struct program *program, struct places *places, int instruction,
                   enum neighbour before, enum neighbour after)
{
    /* The list is its own worklist: what is added is looked at in its turn. */
    int next = places->count;
    places_add(places, instruction);
    while (next < places->count) {
        const struct instruction *at = &program->instructions[places->list[next++]];
        switch (at->opcode) {
        case OP_SPLIT:
            places_add(places, at->next);
            places_add(places, at->other);
            break;
        case OP_JUMP:
            places_add(places, at->next);
            break;
        case OP_ASSERTION:
            if (assertion_holds((enum assertion)at->assertion, before, after))
                places_add(places, at->next);
            break;
        default:
            break;
        }
    }
}
