/* Quick sort (Hoare's partition, median of three) of pseudo-random integers:
 * branches that cannot be predicted. */

#include "kernels.h"

enum { LIMIT = 1 << 18, SMALL = 16 };

static int32_t numbers[LIMIT];

static void swap(int32_t *a, int32_t *b)
{
    int32_t kept = *a;
    *a = *b;
    *b = kept;
}

static void insertion_sort(int32_t *first, int32_t *last)
{
    for (int32_t *next = first + 1; next <= last; next++) {
        int32_t value = *next;
        int32_t *hole = next;
        while (hole > first && hole[-1] > value) {
            *hole = hole[-1];
            hole--;
        }
        *hole = value;
    }
}

/* Recurses into the smaller part and loops on the larger one, so that the depth
 * stays below log2 of the length. */
static void quick_sort(int32_t *first, int32_t *last)
{
    while (last - first >= SMALL) {
        int32_t *middle = first + (last - first) / 2;
        if (*middle < *first)
            swap(middle, first);
        if (*last < *first)
            swap(last, first);
        if (*last < *middle)
            swap(last, middle);
        int32_t pivot = *middle;

        /* first and last are on their sides already and stop both scans. */
        int32_t *left = first, *right = last;
        for (;;) {
            do
                left++;
            while (*left < pivot);
            do
                right--;
            while (*right > pivot);
            if (left >= right)
                break;
            swap(left, right);
        }
        if (right - first < last - right) {
            quick_sort(first, right);
            first = right + 1;
        } else {
            quick_sort(right + 1, last);
            last = right;
        }
    }
    insertion_sort(first, last);
}

long long sort(int n)
{
    n = clamp(n, 1, LIMIT);
    uint32_t random = 2463534242u;
    for (int i = 0; i < n; i++)
        numbers[i] = (int32_t)next_random(&random);
    quick_sort(numbers, numbers + n - 1);

    uint64_t checksum = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && numbers[i - 1] > numbers[i])
            return -1; /* not sorted: no such checksum is expected anywhere */
        checksum = fold(checksum, (uint32_t)numbers[i]);
    }
    return (long long)checksum;
}
