#include "automaton.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum {
    MAX_STATES = 2000,
    HASH_SLOTS = 4096,       /* at least twice MAX_STATES, so that searches end */
    MAX_PLACES = 256 * 1024, /* in all states together */
    END_OF_LINE = 256,       /* a symbol beside the bytes */
};

/* States by number; the first three are not states but answers. */
enum { UNKNOWN, MATCHED, FAILED, FIRST_STATE };

struct state {
    uint32_t first_place; /* where its places are among `places` */
    uint32_t place_count;
    enum neighbour before; /* what was before, if assertions want to know */
};

struct automaton {
    const struct program *program;

    uint16_t kind_of[END_OF_LINE + 1];    /* bytes no instruction tells apart are one kind */
    uint16_t example_of[END_OF_LINE + 1]; /* a byte of each kind */
    int kinds;

    struct state *states;
    int state_count;
    uint16_t *transitions; /* [state][kind] */
    uint16_t *places;      /* of all states, sorted within each */
    size_t place_count;
    uint16_t *slots; /* hash table of states; UNKNOWN where empty */
    int start;

    struct places reached; /* scratch */
    struct places taken;
};

/* ---- kinds of bytes ------------------------------------------------------- */

static void find_kinds(struct automaton *automaton)
{
    bool starts[END_OF_LINE + 2] = { false }; /* a kind starts at this byte */
    starts[0] = true;
    for (int i = 0; i < automaton->program->count; i++) {
        const struct instruction *at = &automaton->program->instructions[i];
        if (at->opcode == OP_BYTE && at->first <= at->last) {
            starts[at->first] = true;
            starts[at->last + 1] = true;
        }
    }
    for (int byte = 1; byte < END_OF_LINE && automaton->program->has_assertions; byte++) {
        if (neighbour_of((unsigned char)byte) != neighbour_of((unsigned char)(byte - 1)))
            starts[byte] = true;
    }
    starts[END_OF_LINE] = true;
    for (int symbol = 0; symbol <= END_OF_LINE; symbol++) {
        if (starts[symbol])
            automaton->example_of[automaton->kinds++] = (uint16_t)symbol;
        automaton->kind_of[symbol] = (uint16_t)(automaton->kinds - 1);
    }
}

/* ---- states --------------------------------------------------------------- */

static int compare_places(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

static uint32_t hash_state(const uint16_t *places, size_t count, enum neighbour before)
{
    uint32_t hash = 0x811c9dc5u ^ (uint32_t)before;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ places[i]) * 0x01000193u;
    return hash;
}

static void forget_states(struct automaton *automaton)
{
    memset(automaton->slots, 0, HASH_SLOTS * sizeof *automaton->slots);
    automaton->state_count = FIRST_STATE;
    automaton->place_count = 0;
    automaton->start = UNKNOWN;
}

/* The state for a set of places, which is made if it is new. The set is sorted.
 * May forget all other states. */
static int find_state(struct automaton *automaton, uint16_t *places, int count,
                      enum neighbour before)
{
    size_t size = (size_t)count;
    if (!automaton->program->has_assertions)
        before = OTHER_BYTE;
    qsort(places, size, sizeof *places, compare_places);
    uint32_t hash = hash_state(places, size, before);
    uint32_t slot = hash % HASH_SLOTS;
    for (; automaton->slots[slot] != UNKNOWN; slot = (slot + 1) % HASH_SLOTS) {
        const struct state *state = &automaton->states[automaton->slots[slot]];
        if (state->before == before && state->place_count == size &&
            memcmp(automaton->places + state->first_place, places, size * sizeof *places) == 0)
            return automaton->slots[slot];
    }
    if (automaton->state_count == MAX_STATES || automaton->place_count + size > MAX_PLACES) {
        forget_states(automaton);
        slot = hash % HASH_SLOTS;
    }
    int number = automaton->state_count++;
    automaton->slots[slot] = (uint16_t)number;
    automaton->states[number].first_place = (uint32_t)automaton->place_count;
    automaton->states[number].place_count = (uint32_t)size;
    automaton->states[number].before = before;
    if (size > 0)
        memcpy(automaton->places + automaton->place_count, places, size * sizeof *places);
    automaton->place_count += size;
    memset(automaton->transitions + (size_t)number * (size_t)automaton->kinds, 0,
           (size_t)automaton->kinds * sizeof *automaton->transitions);
    return number;
}

static int start_state(struct automaton *automaton)
{
    if (automaton->start == UNKNOWN)
        automaton->start = find_state(automaton, automaton->taken.list, 0, LINE_EDGE);
    return automaton->start;
}

/* Where `state` goes on a kind of symbol: worked out from the program. */
static int make_transition(struct automaton *automaton, int state, int kind)
{
    const struct program *program = automaton->program;
    const struct state from = automaton->states[state];
    int symbol = automaton->example_of[kind];
    enum neighbour after = symbol == END_OF_LINE ? LINE_EDGE
                                                 : neighbour_of((unsigned char)symbol);
    automaton->reached.count = 0;
    for (uint32_t i = 0; i < from.place_count; i++)
        places_follow(program, &automaton->reached, automaton->places[from.first_place + i],
                      from.before, after);
    /* A match may start anywhere. */
    places_follow(program, &automaton->reached, program->start, from.before, after);

    int to = FAILED;
    automaton->taken.count = 0;
    for (int i = 0; i < automaton->reached.count && to != MATCHED; i++) {
        const struct instruction *at = &program->instructions[automaton->reached.list[i]];
        if (at->opcode == OP_MATCH)
            to = MATCHED;
        else if (at->opcode == OP_BYTE && at->first <= symbol && symbol <= at->last)
            places_add(&automaton->taken, at->next);
    }
    if (to != MATCHED && symbol != END_OF_LINE) {
        int made = automaton->state_count;
        to = find_state(automaton, automaton->taken.list, automaton->taken.count, after);
        if (automaton->state_count < made) /* all were forgotten, `state` among them */
            return to;
    }
    automaton->transitions[(size_t)state * (size_t)automaton->kinds + (size_t)kind] = (uint16_t)to;
    return to;
}

struct automaton *automaton_new(const struct program *program)
{
    struct automaton *automaton = allocate(NULL, 1, sizeof *automaton);
    memset(automaton, 0, sizeof *automaton);
    automaton->program = program;
    find_kinds(automaton);
    automaton->states = allocate(NULL, MAX_STATES, sizeof *automaton->states);
    automaton->transitions = allocate(NULL, (size_t)MAX_STATES * (size_t)automaton->kinds,
                                      sizeof *automaton->transitions);
    automaton->places = allocate(NULL, MAX_PLACES, sizeof *automaton->places);
    automaton->slots = allocate(NULL, HASH_SLOTS, sizeof *automaton->slots);
    automaton->reached = places_new(program);
    automaton->taken = places_new(program);
    forget_states(automaton);
    return automaton;
}

bool automaton_matches(struct automaton *automaton, const char *line, size_t length)
{
    const size_t kinds = (size_t)automaton->kinds;
    size_t state = (size_t)start_state(automaton);
    for (size_t i = 0; i <= length; i++) {
        size_t kind = automaton->kind_of[i < length ? (unsigned char)line[i] : END_OF_LINE];
        size_t next = automaton->transitions[state * kinds + kind];
        if (next == UNKNOWN)
            next = (size_t)make_transition(automaton, (int)state, (int)kind);
        if (next == MATCHED)
            return true;
        state = next;
    }
    return false;
}
