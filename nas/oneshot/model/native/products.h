/* Products of strips of a matrix with a kernel, whose columns are packed in panels. */
#pragma once
#include "vectors.h"

#define STRIP 48 /* rows of a matrix product that stay in the cache while its columns pass: a multiple of ROWS */

/* Packs kernel [depth, columns], whose strides are by_depth and by_column. */
__attribute__((visibility("hidden"))) void put_panels(const float *kernel, long by_depth, long by_column, long depth,
                                                      long columns, float *panels, int threads);
/* out [rows, columns] = or, if it `adds`, += x [rows, depth] @ the kernel of the panels; copy: ROWS * depth numbers. */
__attribute__((visibility("hidden"))) void multiply_strip(const float *x, long ldx, long rows, const float *panels,
                                                          long depth, float *out, long ldo, long columns, int adds,
                                                          float *copy);

INLINE void add_rows(const float *v, const float *y, long inputs, long outputs, long count, const long rows, float *u)
{
    v8 sum[ROWS][2];
    for (long r = 0; r < rows; r++)
        for (long l = 0; l < 2; l++) sum[r][l] = at(u + r * outputs + 8 * l);
    for (long t = 0; t < count; t++, v += inputs, y += outputs) {
        v8 a = at(y), b = at(y + 8);
        for (long r = 0; r < rows; r++) {
            sum[r][0] += v[r] * a;
            sum[r][1] += v[r] * b;
        }
    }
    for (long r = 0; r < rows; r++)
        for (long l = 0; l < 2; l++) put(u + r * outputs + 8 * l, sum[r][l]);
}

/* u [inputs, outputs] += v' [inputs, count] @ y [count, outputs], inputs and outputs multiples of PANEL. */
INLINE void add_product(const float *v, const float *y, long inputs, long outputs, long count, float *u)
{
    for (long o = 0; o < outputs; o += PANEL) {
        long i = 0;
        for (; i + ROWS <= inputs; i += ROWS) add_rows(v + i, y + o, inputs, outputs, count, ROWS, u + i * outputs + o);
        for (; i + 4 <= inputs; i += 4) add_rows(v + i, y + o, inputs, outputs, count, 4, u + i * outputs + o);
        for (; i + 2 <= inputs; i += 2) add_rows(v + i, y + o, inputs, outputs, count, 2, u + i * outputs + o);
    }
}
