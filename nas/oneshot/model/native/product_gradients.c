/* The gradients behind a product and its BatchNorm and ReLU, strip by strip: the gradient of the product itself never
 * leaves the cache. */
#include "normalisation.h"
#include "parts.h"
#include "products.h"

#define STRIP_NUMBERS 32768 /* of a strip of the product's gradient, about: 128 KiB */
#define MAX_STRIP 192
#define PARTIAL_NUMBERS (1l << 20) /* of all partial sums of the kernel's gradient, about: 4 MiB */
#define MIN_PARTS 8

/* Of z [rows, columns] = x [rows, depth] @ kernel' [depth, columns] and of what was made of z, as `sources` say:
 *     of_x [rows, depth], unless null, = or, if it `adds`, += the gradient of x;
 *     of_kernel [columns, depth], unless null, = that of the kernel, whose strides are by_column and by_depth.
 * depth and columns are multiples of PANEL; all matrices but the sources' are dense. */
int product_gradients(const Source *sources, int64_t n, int64_t rows, int64_t columns, const float *normaliser,
                      const float *of_parameters, const float *x, int64_t depth, const float *kernel,
                      int64_t by_column, int64_t by_depth, float *of_x, int32_t adds, float *of_kernel, int32_t threads)
{
    long strip = larger(STRIP, smaller(MAX_STRIP, STRIP_NUMBERS / columns / STRIP * STRIP)), size = columns * depth;
    long strips = (rows + strip - 1) / strip;
    long parts = smaller(strips, of_kernel ? smaller(PARTS, larger(MIN_PARTS, PARTIAL_NUMBERS / size)) : PARTS);
    float *coefficients = aligned(2 * columns), *panels = aligned(size), *sums = of_kernel ? aligned(parts * size) : 0;
    float *buffers = aligned(threads * (strip + ROWS) * columns);
    if (!coefficients || !panels || !buffers || (of_kernel && !sums)) {
        free(coefficients); free(panels); free(buffers); free(sums);
        return 1;
    }
    put_coefficients(rows, columns, normaliser, of_parameters, coefficients);
    put_panels(kernel, by_column, by_depth, columns, depth, panels, threads);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long thread = 0; thread < threads; thread++) {
        float *of_z = buffers + thread * (strip + ROWS) * columns, *copy = of_z + strip * columns;
        for (long part = parts * thread / threads; part < parts * (thread + 1) / threads; part++) {
            if (of_kernel) memset(sums + part * size, 0, size * sizeof(float));
            for (long s = strips * part / parts; s < strips * (part + 1) / parts; s++) {
                long row = s * strip, height = smaller(strip, rows - row);
                put_gradients(of_z, row, height, columns, sources, n, normaliser, coefficients);
                if (of_x)
                    multiply_strip(of_z, columns, height, panels, columns, of_x + row * depth, depth, depth, adds,
                                   copy);
                if (of_kernel) add_product(of_z, x + row * depth, columns, depth, height, sums + part * size);
            }
        }
    }
    if (of_kernel) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
        for (long k = 0; k < size; k += PANEL)
            for (long l = 0; l < PANEL; l++) {
                double total = 0;
                for (long part = 0; part < parts; part++) total += sums[part * size + k + l];
                of_kernel[k + l] = total;
            }
    }
    free(coefficients);
    free(panels);
    free(buffers);
    free(sums);
    return 0;
}
