/* The gradient behind a BatchNorm and a ReLU. */
#pragma once
#include "vectors.h"

/* Some columns of a normalised matrix z, the weight of what was made of them, and the gradients of that and of the
 * weight. */
typedef struct {
    const float *z, *gradient;
    int64_t ldz, ldg, column, width;
    double weight, of_weight;
} Source;

/* coefficients [2, c]: what z is multiplied by, and what is added, in the gradient of z [rows, c]. */
__attribute__((visibility("hidden"))) void put_coefficients(long rows, long c, const float *normaliser,
                                                            const float *of_parameters, float *coefficients);
/* The gradient of `rows` rows of z, from `row` on: out [rows, c]. */
__attribute__((visibility("hidden"))) void put_gradients(float *out, long row, long rows, long c, const Source *sources,
                                                         long n, const float *normaliser, const float *coefficients);
