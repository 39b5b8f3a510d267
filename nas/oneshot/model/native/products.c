/* Matrix products, and what BatchNorm makes of a matrix, as a slope and an offset a channel: the moments of a product
 * are taken while it is in the cache. */
#include "products.h"
#include "parts.h"
#include <math.h>

/* Adds the sums of z - origin and of its squares to those of each column. */
INLINE void add_moments(const float *z, long ld, long rows, const long c, const float *origin, float *sum,
                        float *square)
{
    long r = 0;
    for (; r + 4 <= rows; r += 4, z += 4 * ld) {
        long k = 0;
        for (; k + 8 <= c; k += 8) {
            v8 o = at(origin + k);
            v8 d0 = at(z + k) - o, d1 = at(z + ld + k) - o, d2 = at(z + 2 * ld + k) - o, d3 = at(z + 3 * ld + k) - o;
            put(sum + k, at(sum + k) + ((d0 + d1) + (d2 + d3)));
            put(square + k, at(square + k) + ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)));
        }
        for (long i = 0; i < 4; i++)
            for (long l = k; l < c; l++) {
                float d = z[i * ld + l] - origin[l];
                sum[l] += d;
                square[l] += d * d;
            }
    }
    for (; r < rows; r++, z += ld)
        for (long k = 0; k < c; k++) {
            float d = z[k] - origin[k];
            sum[k] += d;
            square[k] += d * d;
        }
}

/* normaliser [4, c] = mean, 1 / sqrt(variance + eps), slope, offset: BatchNorm is slope * z + offset.
 * Its first row was the origin of the moments, totals [2, c], over all parts. */
static void put_normaliser(const double *partial, long parts, int64_t rows, int64_t c, const float *scale,
                           const float *shift, double eps, float *normaliser)
{
    for (long k = 0; k < c; k++) {
        double sum = 0, square = 0;
        for (long part = 0; part < parts; part++) {
            sum += partial[part * 2 * c + k];
            square += partial[part * 2 * c + c + k];
        }
        double mean = sum / rows, variance = square / rows - mean * mean;
        double inverse_std = 1 / sqrt((variance < 0 ? 0 : variance) + eps);
        mean += normaliser[k];
        normaliser[k] = mean;
        normaliser[c + k] = inverse_std;
        normaliser[2 * c + k] = scale[k] * inverse_std;
        normaliser[3 * c + k] = shift[k] - mean * scale[k] * inverse_std;
    }
}

/* The normaliser [4, c] of z [rows, c]. */
int normaliser(const float *z, int64_t ld, int64_t rows, int64_t c, const float *scale, const float *shift, double eps,
               float *out, int32_t threads)
{
    long parts = parts_of(rows), length = part_length(rows);
    double *partial = calloc(parts * 2 * c, sizeof(double));
    float *sums = aligned(parts * 2 * c);
    if (!partial || !sums) { free(partial); free(sums); return 1; }
    memcpy(out, z, c * sizeof(float));
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < parts; part++) {
        double *total = partial + part * 2 * c;
        float *sum = sums + part * 2 * c;
        long end = smaller((part + 1) * length, rows);
        for (long r = part * length; r < end; r += BLOCK) {
            start(sum, 2 * c);
            FOR_WIDTH(c, add_moments(z + r * ld, ld, smaller(BLOCK, end - r), C, out, sum, sum + C))
            add_block(sum, 2 * c, total);
        }
    }
    put_normaliser(partial, parts, rows, c, scale, shift, eps, out);
    free(partial);
    free(sums);
    return 0;
}

/* The last rows of a strip, fewer than ROWS, by way of a copy with zeros below. */
static void multiply_rest(const float *x, long ldx, long rows, const float *panel, long depth, float *out, long ldo,
                          int adds, float *copy)
{
    float product[ROWS * PANEL];
    for (long r = 0; r < ROWS; r++)
        for (long i = 0; i < depth; i++) copy[r * depth + i] = r < rows ? x[r * ldx + i] : 0;
    multiply_panel(copy, depth, panel, PANEL, depth, product, PANEL, 0);
    for (long r = 0; r < rows; r++)
        for (long k = 0; k < PANEL; k++) out[r * ldo + k] = product[r * PANEL + k] + (adds ? out[r * ldo + k] : 0);
}

void multiply_strip(const float *x, long ldx, long rows, const float *panels, long depth, float *out, long ldo,
                    long columns, int adds, float *copy)
{
    for (long k = 0; k < columns; k += PANEL) {
        const float *panel = panels + k * depth;
        long r = 0;
        for (; r + ROWS <= rows; r += ROWS)
            if (adds)
                multiply_panel(x + r * ldx, ldx, panel, PANEL, depth, out + r * ldo + k, ldo, 1);
            else
                multiply_panel(x + r * ldx, ldx, panel, PANEL, depth, out + r * ldo + k, ldo, 0);
        if (r < rows) multiply_rest(x + r * ldx, ldx, rows - r, panel, depth, out + r * ldo + k, ldo, adds, copy);
    }
}

void put_panels(const float *kernel, long by_depth, long by_column, long depth, long columns, float *panels,
                int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long k = 0; k < columns; k += PANEL)
        for (long i = 0; i < depth; i++)
            for (long l = 0; l < PANEL; l++)
                panels[k * depth + i * PANEL + l] = kernel[i * by_depth + (k + l) * by_column];
}

/* out [rows, columns] = x [rows, depth] @ kernel [depth, columns], whose strides are by_depth and by_column; out's
 * columns are in n matrices, each a multiple of PANEL wide.  `normaliser`, unless null, gets that of out. */
int product(const float *x, int64_t ldx, int64_t rows, int64_t depth, const float *kernel, int64_t by_depth,
            int64_t by_column, int64_t columns, const Columns *out, int64_t n, const float *scale, const float *shift,
            double eps, float *normaliser, int32_t threads)
{
    long parts = parts_of(rows), length = part_length(rows);
    float *panels = aligned(depth * columns), *copies = aligned((parts + 1) * ROWS * depth); /* one for the first row */
    float *sums = aligned(parts * 2 * columns);
    double *partial = calloc(parts * 2 * columns, sizeof(double));
    if (!panels || !copies || !sums || !partial) {
        free(panels); free(copies); free(sums); free(partial);
        return 1;
    }
    put_panels(kernel, by_depth, by_column, depth, columns, panels, threads);
    if (normaliser) /* its first row begins as the first row of out */
        multiply_strip(x, ldx, 1, panels, depth, normaliser, columns, columns, 0, copies + parts * ROWS * depth);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < parts; part++) {
        double *total = partial + part * 2 * columns;
        float *sum = sums + part * 2 * columns;
        long end = smaller((part + 1) * length, rows);
        for (long r = part * length; r < end; r += STRIP) {
            long height = smaller(STRIP, end - r);
            for (long i = 0; i < n; i++)
                multiply_strip(x + r * ldx, ldx, height, panels + out[i].column * depth, depth,
                               out[i].x + r * out[i].ld, out[i].ld, out[i].width, 0, copies + part * ROWS * depth);
            if (!normaliser) continue;
            start(sum, 2 * columns);
            for (long i = 0; i < n; i++) {
                Columns z = out[i];
                FOR_WIDTH(z.width, add_moments(z.x + r * z.ld, z.ld, height, C, normaliser + z.column, sum + z.column,
                                               sum + columns + z.column))
            }
            add_block(sum, 2 * columns, total);
        }
    }
    if (normaliser) put_normaliser(partial, parts, rows, columns, scale, shift, eps, normaliser);
    free(panels);
    free(copies);
    free(sums);
    free(partial);
    return 0;
}
