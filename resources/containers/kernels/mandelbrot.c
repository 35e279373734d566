/* How soon z -> z*z + c escapes, for every c of a square: multiplications and
 * additions of doubles in registers, no memory at all. */

#include "kernels.h"

enum { ITERATIONS = 256 };

static int iterations_to_escape(double cx, double cy)
{
    double x = 0, y = 0;
    int i = 0;
    while (i < ITERATIONS && x * x + y * y <= 4) {
        double next_x = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = next_x;
        i++;
    }
    return i;
}

long long mandelbrot(int n)
{
    n = clamp(n, 1, 4096);
    uint64_t checksum = 0;
    for (int row = 0; row < n; row++) {
        for (int column = 0; column < n; column++) {
            double cx = -2.0 + 2.5 * column / n;
            double cy = -1.25 + 2.5 * row / n;
            checksum = fold(checksum, (uint64_t)iterations_to_escape(cx, cy));
        }
    }
    return (long long)checksum;
}
