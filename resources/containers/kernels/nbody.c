/* Five bodies under gravity: square roots and divisions that wait for each
 * other. Units and masses are round numbers rather than the planets' so that
 * the kernel is its own and nobody's copy. */

#include "kernels.h"

enum { BODIES = 5 };

#define STEP 0.005

struct body {
    double x, y, z, vx, vy, vz, mass;
};

static const struct body start[BODIES] = {
    { 0, 0, 0, 0, 0, 0, 40 },
    { 5, -1, 0.25, 0.5, 2.75, 0, 0.04 },
    { -8, 4, 0.5, -1, -1.75, 0.125, 0.012 },
    { 13, 15, -0.5, -1, 1, 0.0625, 0.0018 },
    { 15, -26, 0.25, 0.875, 0.5, -0.0625, 0.002 },
};

static void advance(struct body bodies[BODIES])
{
    for (int i = 0; i < BODIES; i++) {
        struct body *a = &bodies[i];
        for (int j = i + 1; j < BODIES; j++) {
            struct body *b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            double squared = dx * dx + dy * dy + dz * dz;
            double pull = STEP / (squared * __builtin_sqrt(squared));
            a->vx -= dx * b->mass * pull, b->vx += dx * a->mass * pull;
            a->vy -= dy * b->mass * pull, b->vy += dy * a->mass * pull;
            a->vz -= dz * b->mass * pull, b->vz += dz * a->mass * pull;
        }
    }
    for (int i = 0; i < BODIES; i++) {
        bodies[i].x += STEP * bodies[i].vx;
        bodies[i].y += STEP * bodies[i].vy;
        bodies[i].z += STEP * bodies[i].vz;
    }
}

long long nbody(int n)
{
    struct body bodies[BODIES];
    for (int i = 0; i < BODIES; i++)
        bodies[i] = start[i];
    for (int i = 0; i < n; i++)
        advance(bodies);

    /* Every bit of the positions: WebAssembly's arithmetic is IEEE 754's, so
     * engines must agree to the last one. */
    uint64_t checksum = 0;
    for (int i = 0; i < BODIES; i++) {
        union {
            double number;
            uint64_t bits;
        } x = { bodies[i].x }, y = { bodies[i].y }, z = { bodies[i].z };
        checksum = fold(fold(fold(checksum, x.bits), y.bits), z.bits);
    }
    return (long long)checksum;
}
