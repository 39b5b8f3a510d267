/* Sums over the rows of a matrix, part by part.
 *
 * Partial sums belong to parts of the rows that do not depend on the number of threads, and are added in order: a
 * result is the same to the last bit for any number.
 */
#pragma once
#include "vectors.h"
#include <string.h>

#define PARTS 64      /* parts of the rows in a reduction, at most */
#define PART_ROWS 192 /* rows of a part, at least: a multiple of BLOCK and of a product's STRIP */
#define BLOCK 64      /* rows whose sums are kept in single precision */

INLINE long smaller(long a, long b) { return a < b ? a : b; }
INLINE long larger(long a, long b) { return a > b ? a : b; }
INLINE long part_length(long rows) { return larger(((rows + PARTS - 1) / PARTS + 3) / 4 * 4, PART_ROWS); }
INLINE long parts_of(long rows) { return (rows + part_length(rows) - 1) / part_length(rows); }

/* Starts the sums of a block of rows in single precision, and adds them to those of its part in double. */
INLINE void start(float *sum, long n) { memset(sum, 0, n * sizeof(float)); }
INLINE void add_block(const float *sum, long n, double *total)
{
    for (long k = 0; k < n; k++) total[k] += sum[k];
}
