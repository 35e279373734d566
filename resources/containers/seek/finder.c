#include "finder.h"

#include <string.h>

#include "memory.h"

/* Threads in order of where they started. Of two at the same instruction the
 * one that started further left is in the list, as it came first. */
struct threads {
    struct places places;
    size_t *starts; /* by instruction */
};

struct finder {
    const struct program *program;
    struct threads now, next;
};

static struct threads threads_new(const struct program *program)
{
    struct threads threads = { .places = places_new(program) };
    threads.starts = allocate(NULL, (size_t)program->count, sizeof *threads.starts);
    return threads;
}

struct finder *finder_new(const struct program *program)
{
    struct finder *finder = allocate(NULL, 1, sizeof *finder);
    finder->program = program;
    finder->now = threads_new(program);
    finder->next = threads_new(program);
    return finder;
}

/* Adds a thread, and those it becomes without taking a byte. */
static void add_thread(const struct program *program, struct threads *threads, int instruction,
                       size_t start, enum neighbour before, enum neighbour after)
{
    int known = threads->places.count;
    places_follow(program, &threads->places, instruction, before, after);
    for (int i = known; i < threads->places.count; i++)
        threads->starts[threads->places.list[i]] = start;
}

bool finder_find(struct finder *finder, const char *line, size_t length, size_t from,
                 struct match *match)
{
    const struct program *program = finder->program;
    bool found = false;
    finder->now.places.count = 0;
    for (size_t at = from;; at++) {
        /* Threads were added to `now` when the byte after them was not known to
         * them; it is now, so this is the time to follow them. */
        enum neighbour before = at == 0 ? LINE_EDGE : neighbour_of((unsigned char)line[at - 1]);
        enum neighbour after = at == length ? LINE_EDGE : neighbour_of((unsigned char)line[at]);
        struct threads *now = &finder->now, *next = &finder->next;
        next->places.count = 0;
        for (int i = 0; i < now->places.count; i++) {
            int instruction = now->places.list[i];
            add_thread(program, next, instruction, now->starts[instruction], before, after);
        }
        if (!found)
            add_thread(program, next, program->start, at, before, after);

        now->places.count = 0;
        for (int i = 0; i < next->places.count; i++) {
            int instruction = next->places.list[i];
            size_t start = next->starts[instruction];
            const struct instruction *step = &program->instructions[instruction];
            if (found && start > match->start)
                break; /* and so did all that follow */
            if (step->opcode == OP_MATCH) {
                match->start = start;
                match->end = at;
                found = true;
            } else if (step->opcode == OP_BYTE && at < length &&
                       step->first <= (unsigned char)line[at] &&
                       (unsigned char)line[at] <= step->last &&
                       !places_have(&now->places, step->next)) {
                places_add(&now->places, step->next);
                now->starts[step->next] = start;
            }
        }
        if (at == length || (found && now->places.count == 0))
            return found;
    }
}
