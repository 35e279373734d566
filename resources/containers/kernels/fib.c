/* The cost of a call: nothing here but calls, compares and additions. */

#include "kernels.h"

__attribute__((noinline)) static long long fibonacci(int n)
{
    if (n < 2)
        return n;
    long long before = fibonacci(n - 1);
    long long before_that = fibonacci(n - 2);
    /* Two calls for each result, as written: without this a compiler turns the
     * second one into a loop. */
    __asm__ volatile("" : "+r"(before_that));
    return before + before_that;
}

long long fib(int n)
{
    return fibonacci(clamp(n, 0, 50));
}
