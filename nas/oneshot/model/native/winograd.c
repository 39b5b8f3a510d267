/* 3x3 convolutions of stride 1 with padding 1, and their gradients, with 1/4 or 4/9 of the multiplications.
 *
 * Winograd's F(m x m, 3x3): of a window d of (m + 2)^2 inputs and a 3x3 kernel g, the m x m outputs are
 * A' [(G g G') * (B' d B)] A  with the matrices of windows.h and the products, position by position of the window,
 * summed over the input's channels: (m + 2)^2 matrix products.  The kernel's gradient is that of the same formula.
 * m is 4, or 2 for images of which windows of 4 would reach too far beyond.
 *
 * Feature maps are [n, h, w, channels], dense; channels are multiples of 16.  Windows are taken in blocks that stay in
 * the cache, and sums over them belong to parts that do not depend on the number of threads.
 */
#include "parts.h"
#include "products.h"
#include "windows.h"

#define TILES 24         /* windows of a block: a multiple of ROWS */
#define GRADIENT_PARTS 8 /* parts of a sum over windows, at most */
#define PART_BLOCKS 4    /* blocks of a part, at least */

typedef struct {
    long n, h, w, m, across, down; /* images, their pixels, the outputs of a window on a side, their windows */
} Shape;

static long windows(Shape s) { return s.n * s.down * s.across; }
static long positions(Shape s) { return SIDE(s.m) * SIDE(s.m); }
static Shape with_windows(long n, long h, long w, long m)
{
    return (Shape){n, h, w, m, (w + m - 1) / m, (h + m - 1) / m};
}
static Shape shape_of(long n, long h, long w)
{
    Shape two = with_windows(n, h, w, 2), four = with_windows(n, h, w, 4);
    return windows(four) * positions(four) < windows(two) * positions(two) ? four : two;
}
/* Between two positions of a transformed kernel: not a power of two, of which the cache would keep few apart. */
static long position_step(long inputs, long outputs) { return inputs * outputs + 16; }

/* Runs `call` with the side of a window's outputs known to the compiler. */
#define FOR_WINDOW(m, call)                                                                                            \
    if (m == 4) {                                                                                                      \
        enum { M = 4 };                                                                                                \
        call;                                                                                                          \
    } else {                                                                                                           \
        enum { M = 2 };                                                                                                \
        call;                                                                                                          \
    }

/* Where the outputs of a window begin. */
typedef struct {
    long image, y, x;
} Place;

static Place place_of(Shape s, long window)
{
    long in_image = window % (s.down * s.across);
    return (Place){window / (s.down * s.across), in_image / s.across * s.m, in_image % s.across * s.m};
}

INLINE Place after(Shape s, Place p)
{
    p.x += s.m;
    if (p.x >= s.w) {
        p.x = 0;
        p.y += s.m;
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

/* A transform of both dimensions of a square of vectors: `from` is the one at (i, j), `to` takes `value` there. */
#define BOTH_WAYS(transform, m, rows, from, columns, to)                                                               \
    {                                                                                                                  \
        v8 between[SIDE(4)][SIDE(4)], in[SIDE(4)], out[SIDE(4)];                                                       \
        UNROLL for (long j = 0; j < rows; j++)                                                                         \
        {                                                                                                              \
            UNROLL for (long i = 0; i < rows; i++) in[i] = from;                                                       \
            transform(in, out, m);                                                                                     \
            UNROLL for (long i = 0; i < columns; i++) between[i][j] = out[i];                                          \
        }                                                                                                              \
        UNROLL for (long i = 0; i < columns; i++)                                                                      \
        {                                                                                                              \
            transform(between[i], out, m);                                                                             \
            UNROLL for (long j = 0; j < columns; j++)                                                                  \
            {                                                                                                          \
                v8 value = out[j];                                                                                     \
                to;                                                                                                    \
            }                                                                                                          \
        }                                                                                                              \
    }

/* B' d B of `count` windows: v is [positions, TILES, c]. */
INLINE void transform_input(const float *x, Shape s, long c, long first, long count, const float *zeros, float *v,
                            const long m)
{
    const long side = SIDE(m), step = TILES * c;
    const float *pixels[SIDE(4) * SIDE(4)];
    Place p = place_of(s, first);
    for (long t = 0; t < count; t++, p = after(s, p)) {
        point(x, s, p, 1, side, c, zeros, pixels);
        for (long k = 0; k < c; k += 8) {
            float *to = v + t * c + k;
            BOTH_WAYS(of_input, m, side, at(pixels[i * side + j] + k), side, (put(to, value), to += step))
        }
    }
}

/* A' u A of `count` windows, into the outputs that lie in the image; those beyond go to `trash`. */
INLINE void transform_output(const float *u, Shape s, long c, long first, long count, float *trash,
                             float *output,
                             const long m)
{
    const long side = SIDE(m), step = TILES * c;
    const float *pixels[16];
    Place p = place_of(s, first);
    for (long t = 0; t < count; t++, p = after(s, p)) {
        point(output, s, p, 0, m, c, trash, pixels);
        for (long k = 0; k < c; k += 8) { /* position after position: it reads, and makes, the transpose */
            const float *from = u + t * c + k;
            BOTH_WAYS(of_output, m, side, at((from += step, from - step)), m,
                      put((float *)pixels[j * m + i] + k, value))
        }
    }
}

/* A g A' of the gradients of `count` windows' outputs: y is [positions, TILES, c]. */
INLINE void transform_gradient(const float *gradient, Shape s, long c, long first, long count, const float *zeros,
                               float *y, const long m)
{
    const long side = SIDE(m), step = TILES * c;
    const float *pixels[16];
    Place p = place_of(s, first);
    for (long t = 0; t < count; t++, p = after(s, p)) {
        point(gradient, s, p, 0, m, c, zeros, pixels);
        for (long k = 0; k < c; k += 8) {
            float *to = y + t * c + k;
            BOTH_WAYS(of_gradient, m, m, at(pixels[i * m + j] + k), side, (put(to, value), to += step))
        }
    }
}

/* Eight numbers that are `step` apart. */
INLINE v8 apart(const float *x, long step)
{
    v8 value;
    for (long l = 0; l < 8; l++) value[l] = x[l * step];
    return value;
}
INLINE void put_apart(float *x, long step, v8 value)
{
    for (long l = 0; l < 8; l++) x[l * step] = value[l];
}

/* G g G' of an input's kernels: u is [positions, inputs, outputs], its positions `position_step` apart. */
INLINE void transform_kernel(const float *kernel, const int64_t *strides, long input, long inputs, long outputs,
                             int flipped, float *u, const long m)
{
    long by_row = flipped ? -strides[2] : strides[2], by_column = flipped ? -strides[3] : strides[3];
    kernel += input * strides[1] + (flipped ? 2 * (strides[2] + strides[3]) : 0);
    for (long o = 0; o < outputs; o += 8) {
        const float *g = kernel + o * strides[0];
        float *to = u + input * outputs + o;
        BOTH_WAYS(of_kernel, m, 3, apart(g + i * by_row + j * by_column, strides[0]), SIDE(m),
                  (put(to, value), to += position_step(inputs, outputs)))
    }
}

/* G' u G, back from what `transform_kernel` makes. */
INLINE void transform_back(const float *u, long input, long inputs, long outputs, float *kernel,
                           const int64_t *strides, const long m)
{
    for (long o = 0; o < outputs; o += 8) {
        const float *from = u + input * outputs + o;
        float *g = kernel + o * strides[0] + input * strides[1];
        BOTH_WAYS(back_to_kernel, m, SIDE(m), at(from + (i * SIDE(m) + j) * position_step(inputs, outputs)), 3,
                  put_apart(g + i * strides[2] + j * strides[3], strides[0], value))
    }
}

/* m [TILES, outputs] = v [TILES, inputs] @ u [inputs, outputs] */
static void multiply(const float *v, const float *u, long inputs, long outputs, long count, float *m)
{
    for (long o = 0; o < outputs; o += PANEL)
        for (long t = 0; t < count; t += ROWS)
            multiply_panel(v + t * inputs, inputs, u + o, outputs, inputs, m + t * outputs + o, outputs, 0);
}

/* Has the cache fetch the i-th of n shares of numbers that will soon be written.  A hint: where an image is no whole
 * number of windows, they lie elsewhere by some pixels. */
INLINE void fetch_share(const float *x, long numbers, long i, long n)
{
    for (long k = i * numbers / n; k < (i + 1) * numbers / n; k += 16) __builtin_prefetch(x + k, 1);
}

/* out [n, h, w, outputs] = the convolution of x [n, h, w, inputs].
 * kernel's strides are those of the output's channel, the input's channel, the row and the column.  `flipped` turns it
 * by half a turn: with the channels' strides exchanged, this is the gradient of a convolution's input. */
int convolve(const float *x, int64_t n, int64_t h, int64_t w, int64_t inputs, const float *kernel,
             const int64_t *strides, int64_t outputs, int32_t flipped, float *out, int32_t threads)
{
    Shape s = shape_of(n, h, w);
    long wide = larger(inputs, outputs), blocks = (windows(s) + TILES - 1) / TILES;
    long step = position_step(inputs, outputs), size = positions(s) * TILES * (inputs + outputs);
    long area = s.m * s.m * outputs; /* of a window's outputs */
    float *u = aligned(positions(s) * step), *buffers = aligned(threads * size), *edges = aligned((threads + 1) * wide);
    if (!u || !buffers || !edges) { free(u); free(buffers); free(edges); return 1; }
    memset(edges, 0, wide * sizeof(float));
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long input = 0; input < inputs; input++)
        FOR_WINDOW(s.m, transform_kernel(kernel, strides, input, inputs, outputs, flipped, u, M))
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < threads; part++) {
        float *v = buffers + part * size, *y = v + positions(s) * TILES * inputs, *trash = edges + (part + 1) * wide;
        memset(v, 0, positions(s) * TILES * inputs * sizeof(float));
        for (long block = blocks * part / threads; block < blocks * (part + 1) / threads; block++) {
            long first = block * TILES, count = smaller(TILES, windows(s) - first);
            FOR_WINDOW(s.m, transform_input(x, s, inputs, first, count, edges, v, M))
            for (long position = 0; position < positions(s); position++) {
                fetch_share(out + first * area, count * area, position, positions(s));
                multiply(v + position * TILES * inputs, u + position * step, inputs, outputs, count,
                         y + position * TILES * outputs);
            }
            FOR_WINDOW(s.m, transform_output(y, s, outputs, first, count, trash, out, M))
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
    long wide = larger(inputs, outputs), blocks = (windows(s) + TILES - 1) / TILES;
    long step = position_step(inputs, outputs), size = positions(s) * TILES * (inputs + outputs);
    long parts = larger(1, smaller(GRADIENT_PARTS, blocks / PART_BLOCKS)), of_part = positions(s) * step;
    float *u = aligned(parts * of_part), *buffers = aligned(parts * size), *zeros = aligned(wide);
    if (!u || !buffers || !zeros) { free(u); free(buffers); free(zeros); return 1; }
    memset(u, 0, parts * of_part * sizeof(float));
    memset(zeros, 0, wide * sizeof(float));
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < parts; part++) {
        float *v = buffers + part * size, *y = v + positions(s) * TILES * inputs;
        for (long block = blocks * part / parts; block < blocks * (part + 1) / parts; block++) {
            long first = block * TILES, count = smaller(TILES, windows(s) - first);
            FOR_WINDOW(s.m, transform_input(x, s, inputs, first, count, zeros, v, M))
            FOR_WINDOW(s.m, transform_gradient(gradient, s, outputs, first, count, zeros, y, M))
            for (long position = 0; position < positions(s); position++)
                add_product(v + position * TILES * inputs, y + position * TILES * outputs, inputs, outputs, count,
                            u + part * of_part + position * step);
        }
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long position = 0; position < positions(s); position++)
        for (long part = 1; part < parts; part++) {
            float *to = u + position * step;
            for (long k = 0; k < inputs * outputs; k += 8) put(to + k, at(to + k) + at(to + part * of_part + k));
        }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long input = 0; input < inputs; input++)
        FOR_WINDOW(s.m, transform_back(u, input, inputs, outputs, of_kernel, strides, M))
    free(u);
    free(buffers);
    free(zeros);
    return 0;
}
