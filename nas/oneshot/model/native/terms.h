/* Terms of a sum of matrices, and scalar products with them. */
#pragma once
#include "vectors.h"

#define TILE 4096 /* floats of a matrix that stay in the first-level cache while terms are added up */
#define LANES 32  /* partial sums of a scalar product */

/* A term of some columns of a sum: weight * relu(slope * x + offset) with a slope and an offset a channel, or
 * weight * x where slope is null.  `adds` is 0 for the first term of its columns. */
typedef struct {
    const float *x;
    const float *slope, *offset;
    int64_t ld, column, width;
    float weight;
    int32_t adds;
} Term;

/* Adds up `rows` rows of the terms, from `row` on, in the same rows of out. */
__attribute__((visibility("hidden"))) void put_terms(float *out, long ldo, long row, long rows, const Term *terms,
                                                     long n);

INLINE float dot(const float *a, long lda, const float *b, long ldb, long rows, const long c)
{
    float lanes[LANES] = {0}, total = 0;
    if (lda == c && ldb == c && rows * c % LANES == 0) {
        for (long k = 0; k < rows * c; k += LANES)
            for (long l = 0; l < LANES; l++) lanes[l] += a[k + l] * b[k + l];
    } else if (c % 16 == 0) {
        for (long r = 0; r < rows; r++)
            for (long k = 0; k < c; k += 16)
                for (long l = 0; l < 16; l++) lanes[l] += a[r * lda + k + l] * b[r * ldb + k + l];
    } else {
        for (long r = 0; r < rows; r++)
            for (long k = 0; k < c; k++) lanes[(r * c + k) % LANES] += a[r * lda + k] * b[r * ldb + k];
    }
    for (long l = 0; l < LANES; l++) total += lanes[l];
    return total;
}
