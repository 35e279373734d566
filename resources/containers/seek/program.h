/* Patterns as programs: nondeterministic automata over bytes. */

#ifndef SEEK_PROGRAM_H
#define SEEK_PROGRAM_H

#include "syntax.h"

enum opcode {
    OP_MATCH,     /* the pattern has been found */
    OP_BYTE,      /* take a byte from `first` to `last`, go on at `next` */
    OP_SPLIT,     /* go on at `next` and at `other` */
    OP_JUMP,      /* go on at `next` */
    OP_ASSERTION, /* go on at `next` if the place is right */
};

struct instruction {
    uint8_t opcode;
    uint8_t first, last;
    uint8_t assertion;
    uint16_t next, other;
};

enum { MAX_INSTRUCTIONS = 30000 };

struct program {
    struct instruction *instructions; /* the first one is OP_MATCH */
    int count;
    int capacity;
    int start;
    bool has_assertions;
};

/* What is before and after a place in a line. */
enum neighbour { LINE_EDGE, WORD_BYTE, OTHER_BYTE };

/* Bytes of characters beyond ASCII count as parts of words. */
static inline enum neighbour neighbour_of(unsigned char byte)
{
    bool word = byte >= 0x80 || byte == '_' || (byte >= '0' && byte <= '9') ||
                (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
    return word ? WORD_BYTE : OTHER_BYTE;
}

bool assertion_holds(enum assertion assertion, enum neighbour before, enum neighbour after);

/* Starts a program that finds nothing. */
void program_init(struct program *program);

/* Makes the program find what the pattern matches, too. False if that takes more
 * than MAX_INSTRUCTIONS. */
bool program_add(struct program *program, const struct node *pattern);

/* The set of instructions a search is at: a list without repetitions. */
struct places {
    uint16_t *list;
    uint16_t *position; /* in the list; means something only if the list agrees */
    int count;
};

struct places places_new(const struct program *program);

static inline bool places_have(const struct places *places, int instruction)
{
    int position = places->position[instruction];
    return position < places->count && places->list[position] == instruction;
}

static inline void places_add(struct places *places, int instruction)
{
    if (!places_have(places, instruction)) {
        places->position[instruction] = (uint16_t)places->count;
        places->list[places->count++] = (uint16_t)instruction;
    }
}

/* Adds `instruction` and all that can be reached from it without taking a byte.
 * Only OP_BYTE and OP_MATCH matter to the caller. */
void places_follow(const struct program *program, struct places *places, int instruction,
                   enum neighbour before, enum neighbour after);

#endif
