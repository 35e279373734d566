/* Eratosthenes: strided byte stores over a megabyte, then a scan of it. */

#include "kernels.h"

enum { LIMIT = 1 << 20 };

static unsigned char composite[LIMIT + 1];

long long sieve(int n)
{
    n = clamp(n, 2, LIMIT);
    for (int i = 0; i <= n; i++)
        composite[i] = 0;
    for (int i = 2; i <= n / i; i++) {
        if (!composite[i]) {
            for (int multiple = i * i; multiple <= n; multiple += i)
                composite[multiple] = 1;
        }
    }

    uint64_t checksum = 0;
    for (int i = 2; i <= n; i++) {
        if (!composite[i])
            checksum = fold(checksum, (uint64_t)i);
    }
    return (long long)checksum;
}
