/* 3x3 convolutions of stride 1 with padding 1, and their gradients, with 4/9 of the multiplications.
 *
 * Lavin and Gray (2016), Fast Algorithms for Convolutional Neural Networks, F(2x2, 3x3): of a 4x4 window d of the input
 * and a 3x3 kernel g, the 2x2 outputs are  A' [(G g G') * (B' d B)] A,  with the products, position by position of the
 * 4x4, summed over the input's channels: 16 matrix products.  The kernel's gradient is that of the same formula.
 *
 * Feature maps are [n, h, w, channels], dense; channels are multiples of 16.  Windows are taken in blocks that stay in
 * the cache, and sums over them belong to parts that do not depend on the number of threads.
 */
#include "vectors.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TILES 24      /* windows of a block: a multiple of ROWS */
#define GRADIENT_PARTS 8

typedef struct {
    long n, h, w, across, down; /* images, their pixels, their windows */
} Shape;

static Shape shape_of(long n, long h, long w) { return (Shape){n, h, w, (w + 1) / 2, (h + 1) / 2}; }
static long windows(Shape s) { return s.n * s.down * s.across; }
/* Between two positions of a transformed kernel: not a power of two, of which the cache would keep few apart. */
static long position_step(long inputs, long outputs) { return inputs * outputs + 16; }

/* Where the outputs of a window begin. */
typedef struct {
    long image, y, x;
} Place;

static Place place_of(Shape s, long window)
{
    long in_image = window % (s.down * s.across);
    return (Place){window / (s.down * s.across), in_image / s.across * 2, in_image % s.across * 2};
}

INLINE Place after(Shape s, Place p)
{
    p.x += 2;
    if (p.x >= s.w) {
        p.x = 0;
        p.y += 2;
        if (p.y >= s.h) {
            p.y = 0;
            p.image++;
        }
    }
    return p;
}

/* Points to the pixels of a square that begins `before` pixels before a window's outputs, or to `outside` beyond. */
INLINE void point(const float *x, Shape s, Place p, long before, const long side, long c, const float *outside,
                  const float **pixels)
{
    long y = p.y - before, column = p.x - before;
    const float *first = x + ((p.image * s.h + y) * s.w + column) * c;
    if (y >= 0 && y + side <= s.h && column >= 0 && column + side <= s.w)
        for (long i = 0; i < side; i++)
            for (long j = 0; j < side; j++) pixels[i * side + j] = first + (i * s.w + j) * c;
    else
        for (long i = 0; i < side; i++)
            for (long j = 0; j < side; j++) {
                int inside = y + i >= 0 && y + i < s.h && column + j >= 0 && column + j < s.w;
                pixels[i * side + j] = inside ? first + (i * s.w + j) * c : outside;
            }
}

/* B' d B of `count` windows: v is [16, TILES, c]. */
static void transform_input(const float *x, Shape s, long c, long first, long count, const float *zeros, float *v)
{
    Place p = place_of(s, first);
    for (long t = 0; t < count; t++, p = after(s, p)) {
        const float *d[16];
        point(x, s, p, 1, 4, c, zeros, d);
        for (long k = 0; k < c; k += 8) {
            v8 m[4][4];
            for (long j = 0; j < 4; j++) {
                v8 a = at(d[j] + k), b = at(d[4 + j] + k), e = at(d[8 + j] + k), f = at(d[12 + j] + k);
                m[0][j] = a - e;
                m[1][j] = b + e;
                m[2][j] = e - b;
                m[3][j] = b - f;
            }
            float *to = v + t * c + k;
            for (long i = 0; i < 4; i++) {
                put(to + (4 * i + 0) * TILES * c, m[i][0] - m[i][2]);
                put(to + (4 * i + 1) * TILES * c, m[i][1] + m[i][2]);
                put(to + (4 * i + 2) * TILES * c, m[i][2] - m[i][1]);
                put(to + (4 * i + 3) * TILES * c, m[i][1] - m[i][3]);
            }
        }
    }
}

/* A' m A of `count` windows, into the outputs that lie in the image. */
static void transform_output(const float *m, Shape s, long c, long first, long count, float *trash, float *out)
{
    Place p = place_of(s, first);
    for (long t = 0; t < count; t++, p = after(s, p)) {
        const float *to[4];
        point(out, s, p, 0, 2, c, trash, to);
        for (long k = 0; k < c; k += 8) {
            const float *from = m + t * c + k;
            v8 r[2][4];
            for (long j = 0; j < 4; j++) {
                v8 a = at(from + j * TILES * c), b = at(from + (4 + j) * TILES * c);
                v8 e = at(from + (8 + j) * TILES * c), f = at(from + (12 + j) * TILES * c);
                r[0][j] = a + b + e;
                r[1][j] = b - e - f;
            }
            for (long i = 0; i < 2; i++) {
                put((float *)to[2 * i] + k, r[i][0] + r[i][1] + r[i][2]);
                put((float *)to[2 * i + 1] + k, r[i][1] - r[i][2] - r[i][3]);
            }
        }
    }
}

/* A g A' of the gradients of `count` windows' outputs: y is [16, TILES, c]. */
static void transform_gradient(const float *gradient, Shape s, long c, long first, long count, const float *zeros,
                               float *y)
{
    Place p = place_of(s, first);
    for (long t = 0; t < count; t++, p = after(s, p)) {
        const float *g[4];
        point(gradient, s, p, 0, 2, c, zeros, g);
        for (long k = 0; k < c; k += 8) {
            v8 r[4][2];
            for (long j = 0; j < 2; j++) {
                v8 a = at(g[j] + k), b = at(g[2 + j] + k);
                r[0][j] = a;
                r[1][j] = a + b;
                r[2][j] = a - b;
                r[3][j] = -b;
            }
            float *to = y + t * c + k;
            for (long i = 0; i < 4; i++) {
                put(to + (4 * i + 0) * TILES * c, r[i][0]);
                put(to + (4 * i + 1) * TILES * c, r[i][0] + r[i][1]);
                put(to + (4 * i + 2) * TILES * c, r[i][0] - r[i][1]);
                put(to + (4 * i + 3) * TILES * c, -r[i][1]);
            }
        }
    }
}

/* G g G': u is [16, inputs, outputs], its positions `position_step` apart. */
static void transform_kernel(const float *kernel, const int64_t *strides, long inputs, long outputs, int flipped,
                             float *u, int threads)
{
    long step = position_step(inputs, outputs);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long i = 0; i < inputs; i++)
        for (long o = 0; o < outputs; o++) {
            float g[3][3], r[4][3];
            for (long y = 0; y < 3; y++)
                for (long x = 0; x < 3; x++) {
                    long row = flipped ? 2 - y : y, column = flipped ? 2 - x : x;
                    g[y][x] = kernel[o * strides[0] + i * strides[1] + row * strides[2] + column * strides[3]];
                }
            for (long x = 0; x < 3; x++) {
                r[0][x] = g[0][x];
                r[1][x] = (g[0][x] + g[1][x] + g[2][x]) / 2;
                r[2][x] = (g[0][x] - g[1][x] + g[2][x]) / 2;
                r[3][x] = g[2][x];
            }
            float *to = u + i * outputs + o;
            for (long y = 0; y < 4; y++) {
                to[(4 * y + 0) * step] = r[y][0];
                to[(4 * y + 1) * step] = (r[y][0] + r[y][1] + r[y][2]) / 2;
                to[(4 * y + 2) * step] = (r[y][0] - r[y][1] + r[y][2]) / 2;
                to[(4 * y + 3) * step] = r[y][2];
            }
        }
}

/* G' u G of one pair of channels; `step` is the distance of two positions of u. */
static void transform_back(const float *u, long step, float *of_kernel, const int64_t *strides)
{
    float r[3][4];
    for (long j = 0; j < 4; j++) {
        float a = u[j * step], b = u[(4 + j) * step], c = u[(8 + j) * step], d = u[(12 + j) * step];
        r[0][j] = a + (b + c) / 2;
        r[1][j] = (b - c) / 2;
        r[2][j] = (b + c) / 2 + d;
    }
    for (long y = 0; y < 3; y++) {
        float *to = of_kernel + y * strides[2];
        to[0] = r[y][0] + (r[y][1] + r[y][2]) / 2;
        to[strides[3]] = (r[y][1] - r[y][2]) / 2;
        to[2 * strides[3]] = (r[y][1] + r[y][2]) / 2 + r[y][3];
    }
}

/* m [TILES, outputs] = v [TILES, inputs] @ u [inputs, outputs] */
static void multiply(const float *v, const float *u, long inputs, long outputs, long count, float *m)
{
    for (long o = 0; o < outputs; o += PANEL)
        for (long t = 0; t < count; t += ROWS)
            multiply_panel(v + t * inputs, inputs, u + o, outputs, inputs, m + t * outputs + o, outputs);
}

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

/* u [inputs, outputs] += v' [inputs, count] @ y [count, outputs] */
static void add_product(const float *v, const float *y, long inputs, long outputs, long count, float *u)
{
    for (long o = 0; o < outputs; o += PANEL) {
        long i = 0;
        for (; i + ROWS <= inputs; i += ROWS) add_rows(v + i, y + o, inputs, outputs, count, ROWS, u + i * outputs + o);
        for (; i + 4 <= inputs; i += 4) add_rows(v + i, y + o, inputs, outputs, count, 4, u + i * outputs + o);
        for (; i + 2 <= inputs; i += 2) add_rows(v + i, y + o, inputs, outputs, count, 2, u + i * outputs + o);
    }
}

/* out [n, h, w, outputs] = the convolution of x [n, h, w, inputs].
 * kernel's strides are those of the output's channel, the input's channel, the row and the column.  `flipped` turns it
 * by half a turn: with the channels' strides exchanged, this is the gradient of a convolution's input. */
int convolve(const float *x, int64_t n, int64_t h, int64_t w, int64_t inputs, const float *kernel,
             const int64_t *strides, int64_t outputs, int32_t flipped, float *out, int32_t threads)
{
    Shape s = shape_of(n, h, w);
    long wide = inputs > outputs ? inputs : outputs, blocks = (windows(s) + TILES - 1) / TILES;
    long step = position_step(inputs, outputs);
    float *u = aligned(16 * step), *buffers = aligned(threads * 16 * TILES * (inputs + outputs));
    float *edges = aligned((threads + 1) * wide);
    if (!u || !buffers || !edges) { free(u); free(buffers); free(edges); return 1; }
    memset(edges, 0, wide * sizeof(float));
    transform_kernel(kernel, strides, inputs, outputs, flipped, u, threads);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < threads; part++) {
        float *v = buffers + part * 16 * TILES * (inputs + outputs), *m = v + 16 * TILES * inputs;
        memset(v, 0, 16 * TILES * inputs * sizeof(float));
        for (long block = blocks * part / threads; block < blocks * (part + 1) / threads; block++) {
            long first = block * TILES, count = windows(s) - first < TILES ? windows(s) - first : TILES;
            transform_input(x, s, inputs, first, count, edges, v);
            for (long position = 0; position < 16; position++)
                multiply(v + position * TILES * inputs, u + position * step, inputs, outputs, count,
                         m + position * TILES * outputs);
            transform_output(m, s, outputs, first, count, edges + (part + 1) * wide, out);
        }
    }
    free(u);
    free(buffers);
    free(edges);
    return 0;
}

/* of_kernel, with strides as in `convolve`, from x and the gradient of the output. */
int kernel_gradient(const float *x, const float *gradient, int64_t n, int64_t h, int64_t w, int64_t inputs,
                    int64_t outputs, float *of_kernel, const int64_t *strides, int32_t threads)
{
    Shape s = shape_of(n, h, w);
    long wide = inputs > outputs ? inputs : outputs, blocks = (windows(s) + TILES - 1) / TILES;
    long step = position_step(inputs, outputs), size = 16 * step;
    float *u = aligned(GRADIENT_PARTS * size), *zeros = aligned(wide);
    float *buffers = aligned(GRADIENT_PARTS * 16 * TILES * (inputs + outputs));
    if (!u || !buffers || !zeros) { free(u); free(buffers); free(zeros); return 1; }
    memset(u, 0, GRADIENT_PARTS * size * sizeof(float));
    memset(zeros, 0, wide * sizeof(float));
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < GRADIENT_PARTS; part++) {
        float *v = buffers + part * 16 * TILES * (inputs + outputs), *y = v + 16 * TILES * inputs;
        for (long block = blocks * part / GRADIENT_PARTS; block < blocks * (part + 1) / GRADIENT_PARTS; block++) {
            long first = block * TILES, count = windows(s) - first < TILES ? windows(s) - first : TILES;
            transform_input(x, s, inputs, first, count, zeros, v);
            transform_gradient(gradient, s, outputs, first, count, zeros, y);
            for (long position = 0; position < 16; position++)
                add_product(v + position * TILES * inputs, y + position * TILES * outputs, inputs, outputs, count,
                            u + part * size + position * step);
        }
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long i = 0; i < inputs; i++) {
        for (long part = 1; part < GRADIENT_PARTS; part++)
            for (long position = 0; position < 16; position++) {
                float *to = u + position * step + i * outputs;
                for (long o = 0; o < outputs; o += 8) put(to + o, at(to + o) + at(to + part * size + o));
            }
        for (long o = 0; o < outputs; o++)
            transform_back(u + i * outputs + o, step, of_kernel + o * strides[0] + i * strides[1], strides);
    }
    free(u);
    free(buffers);
    free(zeros);
    return 0;
}
