/* Eight numbers at once, in the compiler's vector types.
 *
 * A feature map is a matrix of float32, a row a pixel, a column a channel (channels last); `ld` is the distance of two
 * rows, so that a matrix may be some columns of a wider one.  Comparisons are written such that a value that is not a
 * number stays one.
 */
#pragma once
#include <stdint.h>
#include <stdlib.h>

#define INLINE static inline __attribute__((always_inline))

typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t i8 __attribute__((vector_size(32), aligned(4), may_alias));

INLINE v8 at(const float *x) { return *(const v8 *)x; }
INLINE void put(float *x, v8 value) { *(v8 *)x = value; }
INLINE v8 where(i8 mask, v8 x) { return (v8)(mask & (i8)x); }
/* Some columns of a matrix, from `column` on, in a matrix of their own or in a wider one. */
typedef struct {
    float *x;
    int64_t ld, column, width;
} Columns;

/* Memory that begins a line of the cache. */
INLINE float *aligned(long numbers) { return aligned_alloc(64, (numbers * sizeof(float) + 63) / 64 * 64); }

/* Runs `call` with `c` known to the compiler where it is one of the usual widths. */
#define FOR_WIDTH(c, call)                                                                                             \
    switch (c) {                                                                                                       \
    case 16: { enum { C = 16 }; call; break; }                                                                         \
    case 32: { enum { C = 32 }; call; break; }                                                                         \
    case 64: { enum { C = 64 }; call; break; }                                                                         \
    default: { const long C = c; call; }                                                                               \
    }

#define ROWS 6   /* rows of a matrix product in registers */
#define PANEL 16 /* its columns in registers */

/* out [ROWS, PANEL] = or, if it `adds`, += x [ROWS, depth] @ panel [depth, PANEL]; of the matrices that these are part
 * of, rows are `ldx`, `step` and `ldo` apart. */
INLINE void multiply_panel(const float *x, long ldx, const float *panel, long step, long depth, float *out, long ldo,
                           const int adds)
{
    v8 sum[ROWS][2] = {{{0}}};
    for (long r = 0; adds && r < ROWS; r++)
        for (long l = 0; l < 2; l++) sum[r][l] = at(out + r * ldo + 8 * l);
    for (long i = 0; i < depth; i++, panel += step) {
        v8 a = at(panel), b = at(panel + 8);
        for (long r = 0; r < ROWS; r++) {
            sum[r][0] += x[r * ldx + i] * a;
            sum[r][1] += x[r * ldx + i] * b;
        }
    }
    for (long r = 0; r < ROWS; r++)
        for (long l = 0; l < 2; l++) put(out + r * ldo + 8 * l, sum[r][l]);
}
