/* The textbook product of two matrices of doubles, rows first so that the inner
 * loop runs along both of its rows. */

#include "kernels.h"

enum { LIMIT = 192 };

static double left[LIMIT][LIMIT];
static double right[LIMIT][LIMIT];
static double product[LIMIT][LIMIT];

long long matmul(int n)
{
    n = clamp(n, 1, LIMIT);
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            /* Multiples of 1/8: sums of their products are exact, so the result
             * does not depend on how an engine orders or fuses them. */
            left[i][j] = (double)(i * 3 + j) / 8;
            right[i][j] = (double)(i - j * 2) / 8;
            product[i][j] = 0;
        }
    }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < n; k++) {
            double factor = left[i][k];
            for (int j = 0; j < n; j++)
                product[i][j] += factor * right[k][j];
        }
    }

    uint64_t checksum = 0;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++)
            checksum = fold(checksum, (uint64_t)(int64_t)(product[i][j] * 64));
    }
    return (long long)checksum;
}
