/* The gradients behind weight * relu(batch_norm(z)), from z and its normaliser (products.c). */
#include "normalisation.h"
#include "parts.h"
#include "terms.h"

/* A normalised matrix, its normaliser, where the gradients of scale and shift go, and the weight and its gradient. */
typedef struct {
    const float *z, *normaliser;
    float *of_parameters;
    double weight, of_weight;
} Normalised;

INLINE void add_gradients(const float *gradient, long ldg, const float *z, long ldz, long rows, const long c,
                          const float *mean, const float *slope, const float *offset, float *of_shift, float *of_slope)
{
    long r = 0;
    for (; r + 4 <= rows; r += 4, gradient += 4 * ldg, z += 4 * ldz)
        for (long k = 0; k + 8 <= c; k += 8) {
            const float *g = gradient + k, *x = z + k;
            v8 s = at(slope + k), o = at(offset + k), m = at(mean + k);
            v8 x0 = at(x), x1 = at(x + ldz), x2 = at(x + 2 * ldz), x3 = at(x + 3 * ldz);
            v8 g0 = where(s * x0 + o > 0, at(g)), g1 = where(s * x1 + o > 0, at(g + ldg));
            v8 g2 = where(s * x2 + o > 0, at(g + 2 * ldg)), g3 = where(s * x3 + o > 0, at(g + 3 * ldg));
            put(of_shift + k, at(of_shift + k) + ((g0 + g1) + (g2 + g3)));
            put(of_slope + k, at(of_slope + k) + ((g0 * (x0 - m) + g1 * (x1 - m)) + (g2 * (x2 - m) + g3 * (x3 - m))));
        }
    long whole = r;
    gradient -= whole * ldg;
    z -= whole * ldz;
    for (r = 0; r < rows; r++, gradient += ldg, z += ldz)
        for (long k = r < whole ? c / 8 * 8 : 0; k < c; k++) {
            float g = slope[k] * z[k] + offset[k] > 0 ? gradient[k] : 0;
            of_shift[k] += g;
            of_slope[k] += g * (z[k] - mean[k]);
        }
}

INLINE void put_gradient(float *restrict out, long ldo, const float *restrict gradient, long ldg,
                         const float *restrict z, long ldz, long rows, const long c, float weight,
                         const float *restrict slope, const float *restrict offset, const float *restrict by_z,
                         const float *restrict constant)
{
    for (long r = 0; r < rows; r++, out += ldo, gradient += ldg, z += ldz) {
        long k = 0;
        for (; k + 8 <= c; k += 8) {
            v8 s = at(slope + k), x = at(z + k);
            v8 g = where(s * x + at(offset + k) > 0, at(gradient + k));
            put(out + k, weight * s * g + (at(by_z + k) * x + at(constant + k)));
        }
        for (; k < c; k++) {
            float g = slope[k] * z[k] + offset[k] > 0 ? gradient[k] : 0;
            out[k] = weight * slope[k] * g + (by_z[k] * z[k] + constant[k]);
        }
    }
}

/* Puts the gradients of scale and shift into two rows of of_parameters, `ld` apart as those of the normaliser, from the
 * sums that `add_gradients` made of each part, also `ld` apart; returns that of the weight. */
static double put_parameter_gradients(const double *partial, long parts, long step, long ld, long c,
                                      const float *normaliser, double weight, float *of_parameters)
{
    const float *mean = normaliser, *inverse_std = mean + ld, *slope = inverse_std + ld, *offset = slope + ld;
    double of_weight = 0;
    for (long k = 0; k < c; k++) {
        double of_shift = 0, of_slope = 0;
        for (long part = 0; part < parts; part++) {
            of_shift += partial[part * step + k];
            of_slope += partial[part * step + ld + k];
        }
        of_parameters[k] = weight * of_slope * inverse_std[k];
        of_parameters[ld + k] = weight * of_shift;
        of_weight += slope[k] * of_slope + (offset[k] + (double)slope[k] * mean[k]) * of_shift;
    }
    return of_weight;
}

/* The gradients of scale and shift behind weight * relu(batch_norm(z)), whose c columns are those of the n sources, and
 * those of the sources' weights.
 * `normaliser` is [4, c]; `of_parameters` gets [2, c]: of the scale, the shift. */
int parameter_gradients(Source *sources, int64_t n, int64_t rows, int64_t c, const float *normaliser,
                        float *of_parameters, int32_t threads)
{
    long parts = parts_of(rows), length = part_length(rows);
    double *partial = calloc(parts * 2 * c, sizeof(double));
    float *sums = aligned(parts * 2 * c);
    if (!partial || !sums) { free(partial); free(sums); return 1; }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < parts; part++) {
        float *sum = sums + part * 2 * c;
        long end = smaller((part + 1) * length, rows);
        for (long i = 0; i < n; i++) { /* one after the other: long runs through memory */
            Source s = sources[i];
            const float *at_column = normaliser + s.column;
            double *total = partial + part * 2 * c + s.column;
            for (long r = part * length; r < end; r += BLOCK) {
                start(sum, 2 * s.width);
                FOR_WIDTH(s.width, add_gradients(s.gradient + r * s.ldg, s.ldg, s.z + r * s.ldz, s.ldz,
                                                 smaller(BLOCK, end - r), C, at_column, at_column + 2 * c,
                                                 at_column + 3 * c, sum, sum + C))
                add_block(sum, s.width, total);
                add_block(sum + s.width, s.width, total + c);
            }
        }
    }
    for (long i = 0; i < n; i++) {
        long k = sources[i].column;
        sources[i].of_weight = put_parameter_gradients(partial + k, parts, 2 * c, c, sources[i].width, normaliser + k,
                                                       sources[i].weight, of_parameters + k);
    }
    free(partial);
    free(sums);
    return 0;
}

/* What a block's readers send back: out [rows, c], dense, = the sum of the terms; and while that is in the cache,
 *     dots[i] = the scalar product of the i-th term's x with the block's output, itself a term, unless that is null;
 *     the gradients of scale, shift and weight of each `normalised`, of which the block's output is a sum. */
int receive(float *out, int64_t rows, int64_t c, const Term *terms, int64_t n, const Term *output, double *dots,
            Normalised *normalised, int64_t n_normalised, int32_t threads)
{
    long parts = parts_of(rows), length = part_length(rows), tile = larger(TILE / c, 4);
    long step = n + n_normalised * 2 * c;
    double *partial = calloc(parts * step, sizeof(double));
    float *sums = aligned(parts * 2 * c), *outputs = aligned(parts * tile * c);
    if (!partial || !sums || !outputs) { free(partial); free(sums); free(outputs); return 1; }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < parts; part++) {
        double *of_edges = partial + part * step;
        float *sum = sums + part * 2 * c;
        for (long r = part * length, end = smaller(r + length, rows); r < end; r += tile) {
            long height = smaller(tile, end - r);
            put_terms(out, c, r, height, terms, n);
            if (output) {
                Term here = *output;
                const float *y = here.x += r * c;
                if (here.slope || here.weight != 1) {
                    y = outputs + part * tile * c;
                    put_terms(outputs + part * tile * c, c, 0, height, &here, 1);
                }
                for (long i = 0; i < n; i++) {
                    const float *x = terms[i].x + r * terms[i].ld;
                    FOR_WIDTH(c, of_edges[i] += dot(x, terms[i].ld, y, C, height, C))
                }
            }
            for (long i = 0; i < n_normalised; i++) {
                const float *z = normalised[i].z, *by = normalised[i].normaliser;
                for (long b = r; b < r + height; b += BLOCK) {
                    start(sum, 2 * c);
                    FOR_WIDTH(c, add_gradients(out + b * c, C, z + b * c, C, smaller(BLOCK, r + height - b), C, by,
                                               by + 2 * c, by + 3 * c, sum, sum + C))
                    add_block(sum, 2 * c, of_edges + n + i * 2 * c);
                }
            }
        }
    }
    for (long part = 0; part < parts; part++)
        for (long i = 0; i < n; i++) dots[i] += partial[part * step + i];
    for (long i = 0; i < n_normalised; i++)
        normalised[i].of_weight =
            put_parameter_gradients(partial + n + i * 2 * c, parts, step, c, c, normalised[i].normaliser,
                                    normalised[i].weight, normalised[i].of_parameters);
    free(partial);
    free(sums);
    free(outputs);
    return 0;
}

void put_coefficients(long rows, long c, const float *normaliser, const float *of_parameters, float *coefficients)
{
    const float *mean = normaliser, *inverse_std = mean + c, *slope = inverse_std + c;
    for (long k = 0; k < c; k++) {
        double by_z = -(double)slope[k] * inverse_std[k] * of_parameters[k] / rows;
        coefficients[k] = by_z;
        coefficients[c + k] = -(double)slope[k] * of_parameters[c + k] / rows - by_z * mean[k];
    }
}

void put_gradients(float *out, long row, long rows, long c, const Source *sources, long n, const float *normaliser,
                   const float *coefficients)
{
    const float *slope = normaliser + 2 * c, *offset = slope + c, *by_z = coefficients, *constant = by_z + c;
    for (long i = 0; i < n; i++) {
        Source s = sources[i];
        long k = s.column;
        FOR_WIDTH(s.width, put_gradient(out + k, c, s.gradient + row * s.ldg, s.ldg, s.z + row * s.ldz, s.ldz, rows, C,
                                        s.weight, slope + k, offset + k, by_z + k, constant + k))
    }
}

/* The gradient of z: out [rows, c]. */
int input_gradient(const Source *sources, int64_t n, int64_t rows, int64_t c, const float *normaliser,
                   const float *of_parameters, float *out, int32_t threads)
{
    float *coefficients = aligned(2 * c);
    if (!coefficients) return 1;
    put_coefficients(rows, c, normaliser, of_parameters, coefficients);
    long parts = parts_of(rows), length = part_length(rows);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < parts; part++) {
        long row = part * length;
        put_gradients(out + row * c, row, smaller(length, rows - row), c, sources, n, normaliser, coefficients);
    }
    free(coefficients);
    return 0;
}
