/* The exports of kernels.wasm. Each computes from `n` alone and returns a
 * checksum of all it computed, so that no work can be left out unnoticed. A
 * kernel clamps `n` to what its fixed arrays hold; more work within the same
 * memory is done by repeating. None calls out of the module. */

#ifndef KERNELS_H
#define KERNELS_H

#include <stdint.h>

/* Made visible to the host by name; wasm-ld drops everything else. */
#define EXPORT __attribute__((visibility("default")))

EXPORT long long fib(int n);        /* calls: the n-th Fibonacci number, recursively */
EXPORT long long sieve(int n);      /* bytes and branches: primes up to n, at most 2^20 */
EXPORT long long matmul(int n);     /* doubles: product of two n x n matrices, n <= 192 */
EXPORT long long hash(int n);       /* 32-bit integers: SHA-256 over n blocks of 64 bytes */
EXPORT long long nbody(int n);      /* double latency: n steps of five bodies */
EXPORT long long sort(int n);       /* data-dependent branches: quick sort of n <= 2^18 ints */
EXPORT long long strings(int n);    /* byte scanning: n rounds over 64 KiB of text */
EXPORT long long mandelbrot(int n); /* double throughput: an n x n picture, 256 iterations */
EXPORT long long crc32(int n);      /* table look-ups: CRC-32 of n KiB */
EXPORT long long tokens(int n);     /* a state machine: n rounds over a JSON text */

/* xorshift32 (Marsaglia, 2003): the same numbers on every engine. */
static inline uint32_t next_random(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

/* Folds a value into a checksum in which order matters (FNV-1a's multiplier). */
static inline uint64_t fold(uint64_t checksum, uint64_t value)
{
    return (checksum ^ value) * 0x100000001b3u;
}

static inline int clamp(int n, int low, int high)
{
    return n < low ? low : n > high ? high : n;
}

#endif
