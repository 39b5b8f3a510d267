/* The parts of a cell between its convolutions, in as few passes over memory as they need.
 *
 * A feature map is a matrix of float32, a row a pixel, a column a channel (channels last); `ld` is the distance of two
 * rows, so that a matrix may be some columns of a wider one.  Partial sums belong to parts of the rows that do not
 * depend on the number of threads, and are added in order: a result is the same to the last bit for any number.
 * Comparisons are written such that a value that is not a number stays one.
 */
#include "vectors.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PARTS 64       /* parts of the rows in a reduction, at most */
#define PART_ROWS 192  /* rows of a part, at least: a multiple of BLOCK and of STRIP */
#define BLOCK 64       /* rows whose sums are kept in single precision */
#define TILE 4096      /* floats of a matrix that stay in the first-level cache while terms are added up */
#define LANES 32       /* partial sums of a scalar product */
#define STRIP 48       /* rows of a matrix product that stay in the cache while its columns pass */
/* Runs `call` with `c` known to the compiler where it is one of the usual widths. */
#define FOR_WIDTH(c, call)                                                                                             \
    switch (c) {                                                                                                       \
    case 16: { enum { C = 16 }; call; break; }                                                                         \
    case 32: { enum { C = 32 }; call; break; }                                                                         \
    case 64: { enum { C = 64 }; call; break; }                                                                         \
    default: { const long C = c; call; }                                                                               \
    }

typedef uint8_t b8 __attribute__((vector_size(8), aligned(1), may_alias));
/* Eight bytes as numbers, and back, and a choice; the compiler would take the bytes one by one. */
#ifdef __AVX2__
INLINE i8 from_bytes(const uint8_t *x) { return (i8)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)x)); }
INLINE void to_bytes(uint8_t *out, i8 x)
{
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
    _mm_storel_epi64((__m128i *)out, _mm_packus_epi16(words, words));
}
INLINE i8 choose(i8 mask, i8 a, i8 b) { return (i8)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)mask); }
#else
INLINE i8 choose(i8 mask, i8 a, i8 b) { return (mask & a) | (~mask & b); }
INLINE i8 from_bytes(const uint8_t *x) { return __builtin_convertvector(*(const b8 *)x, i8); }
INLINE void to_bytes(uint8_t *out, i8 x) { *(b8 *)out = __builtin_convertvector(x, b8); }
#endif
INLINE v8 where(i8 mask, v8 x) { return (v8)(mask & (i8)x); }
INLINE v8 relu(v8 x) { return where(~(x < 0), x); }

/* A term of some columns of a sum: weight * relu(slope * x + offset) with a slope and an offset a channel, or weight * x
 * where slope is null.  `adds` is 0 for the first term of its columns. */
typedef struct {
    const float *x;
    const float *slope, *offset;
    int64_t ld, column, width;
    float weight;
    int32_t adds;
} Term;

/* The gradient of some columns of a normalised matrix. */
typedef struct {
    const float *gradient;
    int64_t ld, column, width;
} Source;

/* A matrix behind which relu(batch_norm) was taken, its normaliser, and where the gradients of scale and shift go. */
typedef struct {
    const float *z, *normaliser;
    float *of_parameters;
} Normalised;

static long smaller(long a, long b) { return a < b ? a : b; }
static long larger(long a, long b) { return a > b ? a : b; }
static long part_length(long rows) { return larger(((rows + PARTS - 1) / PARTS + 3) / 4 * 4, PART_ROWS); }
static long parts_of(long rows) { return (rows + part_length(rows) - 1) / part_length(rows); }

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

/* Starts the sums of a block of rows in single precision, and adds them to those of its part in double. */
INLINE void start(float *sum, long n) { memset(sum, 0, n * sizeof(float)); }
INLINE void add_block(const float *sum, long n, double *total)
{
    for (long k = 0; k < n; k++) total[k] += sum[k];
}

/* Adds n sums of all parts, in order; those of a part lie `step` after those of the one before. */
static void add_parts(const double *partial, long parts, long step, long n, double *totals)
{
    for (long part = 0; part < parts; part++)
        for (long k = 0; k < n; k++) totals[k] += partial[part * step + k];
}

/* Adds the sums of z - origin and of its squares over rows [rows, c] to totals [2, c]. */
int moments(const float *z, int64_t ld, int64_t rows, int64_t c, const float *origin, double *totals, int32_t threads)
{
    long parts = parts_of(rows), length = part_length(rows);
    double *partial = calloc(parts * 2 * c, sizeof(double));
    float *sums = aligned(parts * 2 * c);
    if (!partial || !sums) { free(partial); free(sums); return 1; }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < parts; part++) {
        double *total = partial + part * 2 * c;
        float *sum = sums + part * 2 * c;
        long end = smaller((part + 1) * length, rows);
        for (long r = part * length; r < end; r += BLOCK) {
            start(sum, 2 * c);
            FOR_WIDTH(c, add_moments(z + r * ld, ld, smaller(BLOCK, end - r), C, origin, sum, sum + C))
            add_block(sum, 2 * c, total);
        }
    }
    add_parts(partial, parts, 2 * c, 2 * c, totals);
    free(partial);
    free(sums);
    return 0;
}

/* The last rows of a strip, fewer than ROWS, by way of a copy with zeros below. */
static void multiply_rest(const float *x, long ldx, long rows, const float *panel, long depth, float *out, long ldo,
                          float *copy)
{
    float product[ROWS * PANEL];
    for (long r = 0; r < ROWS; r++)
        for (long i = 0; i < depth; i++) copy[r * depth + i] = r < rows ? x[r * ldx + i] : 0;
    multiply_panel(copy, depth, panel, PANEL, depth, product, PANEL);
    for (long r = 0; r < rows; r++) memcpy(out + r * ldo, product + r * PANEL, PANEL * sizeof(float));
}

static void multiply_strip(const float *x, long ldx, long rows, const float *panels, long depth, long columns,
                           float *out, float *copy)
{
    for (long k = 0; k < columns; k += PANEL) {
        const float *panel = panels + k * depth;
        long r = 0;
        for (; r + ROWS <= rows; r += ROWS)
            multiply_panel(x + r * ldx, ldx, panel, PANEL, depth, out + r * columns + k, columns);
        if (r < rows) multiply_rest(x + r * ldx, ldx, rows - r, panel, depth, out + r * columns + k, columns, copy);
    }
}

/* out [rows, columns], dense, = x [rows, depth] @ kernel [depth, columns], whose strides are by_depth and by_column.
 * columns is a multiple of PANEL.  Unless totals is null, `origin` gets the first row of out, and totals [2, columns]
 * the moments of out about it, as in `moments`. */
int product(const float *x, int64_t ldx, int64_t rows, int64_t depth, const float *kernel, int64_t by_depth,
            int64_t by_column, int64_t columns, float *out, float *origin, double *totals, int32_t threads)
{
    long parts = parts_of(rows), length = part_length(rows);
    float *panels = aligned(depth * columns), *copies = aligned((parts + 1) * ROWS * depth); /* one for the first row */
    float *sums = aligned(parts * 2 * columns);
    double *partial = calloc(parts * 2 * columns, sizeof(double));
    if (!panels || !copies || !sums || !partial) {
        free(panels); free(copies); free(sums); free(partial);
        return 1;
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long k = 0; k < columns; k += PANEL)
        for (long i = 0; i < depth; i++)
            for (long l = 0; l < PANEL; l++)
                panels[k * depth + i * PANEL + l] = kernel[i * by_depth + (k + l) * by_column];
    if (totals) multiply_strip(x, ldx, 1, panels, depth, columns, origin, copies + parts * ROWS * depth);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < parts; part++) {
        double *total = partial + part * 2 * columns;
        float *sum = sums + part * 2 * columns;
        long end = smaller((part + 1) * length, rows);
        for (long r = part * length; r < end; r += STRIP) {
            long height = smaller(STRIP, end - r);
            multiply_strip(x + r * ldx, ldx, height, panels, depth, columns, out + r * columns,
                           copies + part * ROWS * depth);
            if (!totals) continue;
            start(sum, 2 * columns);
            FOR_WIDTH(columns, add_moments(out + r * columns, columns, height, C, origin, sum, sum + columns))
            add_block(sum, 2 * columns, total);
        }
    }
    if (totals) add_parts(partial, parts, 2 * columns, 2 * columns, totals);
    free(panels);
    free(copies);
    free(sums);
    free(partial);
    return 0;
}

/* BatchNorm with the moments of all `rows`, as slope * z + offset.
 * `out` is [4, c]: mean, 1 / sqrt(variance + eps), slope, offset. */
int normaliser(const double *totals, int64_t rows, int64_t c, const float *origin, const float *scale,
               const float *shift, double eps, float *out)
{
    for (long k = 0; k < c; k++) {
        double mean = totals[k] / rows, variance = totals[c + k] / rows - mean * mean;
        double inverse_std = 1 / sqrt((variance < 0 ? 0 : variance) + eps);
        mean += origin[k];
        out[k] = mean;
        out[c + k] = inverse_std;
        out[2 * c + k] = scale[k] * inverse_std;
        out[3 * c + k] = shift[k] - mean * scale[k] * inverse_std;
    }
    return 0;
}

INLINE void put_term(float *restrict out, long ldo, long rows, const long c, Term t, int first)
{
    const float *restrict x = t.x;
    float weight = t.weight;
    if (t.slope) {
        const float *restrict slope = t.slope, *restrict offset = t.offset;
        for (long r = 0; r < rows; r++, x += t.ld, out += ldo) {
            long k = 0;
            for (; k + 8 <= c; k += 8) {
                v8 v = weight * relu(at(slope + k) * at(x + k) + at(offset + k));
                if (!first) v += at(out + k);
                put(out + k, v);
            }
            for (; k < c; k++) {
                float v = slope[k] * x[k] + offset[k];
                v = weight * (0 > v ? 0 : v);
                out[k] = first ? v : out[k] + v;
            }
        }
        return;
    }
    if (t.ld == c && ldo == c) {
        for (long k = 0; k < rows * c; k++) out[k] = first ? weight * x[k] : out[k] + weight * x[k];
        return;
    }
    for (long r = 0; r < rows; r++, x += t.ld, out += ldo) {
        long k = 0;
        for (; k + 8 <= c; k += 8) {
            v8 v = weight * at(x + k);
            if (!first) v += at(out + k);
            put(out + k, v);
        }
        for (; k < c; k++) out[k] = first ? weight * x[k] : out[k] + weight * x[k];
    }
}

static void put_terms(float *out, long ldo, long row, long rows, const Term *terms, long n)
{
    for (long i = 0; i < n; i++) {
        Term t = terms[i];
        t.x += row * t.ld;
        float *to = out + row * ldo + t.column;
        if (t.adds) {
            FOR_WIDTH(t.width, put_term(to, ldo, rows, C, t, 0))
        } else {
            FOR_WIDTH(t.width, put_term(to, ldo, rows, C, t, 1))
        }
    }
}

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

/* out [rows, c] = the sum of the terms, whose columns cover it. */
int sum_terms(float *out, int64_t ldo, int64_t rows, int64_t c, const Term *terms, int64_t n, int32_t threads)
{
    long parts = parts_of(rows), length = part_length(rows), tile = larger(TILE / c, 4);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < parts; part++)
        for (long r = part * length, end = smaller(r + length, rows); r < end; r += tile)
            put_terms(out, ldo, r, smaller(tile, end - r), terms, n);
    return 0;
}

/* Takes `x` and `number` where x is larger than `largest` or no number. */
#define TAKE_LARGER(x, number, largest, which)                                                                         \
    {                                                                                                                  \
        i8 take = ((x) > largest) | ((x) != (x));                                                                      \
        largest = (v8)choose(take, (i8)(x), (i8)largest);                                                              \
        which = choose(take, number, which);                                                                           \
    }

/* The largest of three neighbours in a row of pixels and which one it was (0, 1, 2), the first of equals.
 * x is a row of n numbers between two pixels of minus infinity. */
INLINE void largest_of_row(const float *x, long n, const long c, float *largest, int32_t *which)
{
    for (long k = 0; k < n; k += 8) {
        v8 l = at(x + k - c), middle = at(x + k), right = at(x + k + c);
        i8 w = {0}, one = w + 1, two = w + 2;
        TAKE_LARGER(middle, (one), l, w)
        TAKE_LARGER(right, (two), l, w)
        put(largest + k, l);
        *(i8 *)(which + k) = w;
    }
}

/* n: numbers in a row of pixels, rounded up to whole vectors.  buffer: 8 n + 2 c numbers */
INLINE void pool_image(const float *x, long height, long width, const long c, float weight, float *out,
                       uint8_t *position, const Term *terms, long n_terms, long first_row, float *buffer)
{
    long numbers = width * c, n = (numbers + 7) / 8 * 8;
    float *rows[3], *padded = buffer + 6 * n + c, *pooled = padded + n + c;
    int32_t *whiches[3];
    for (int i = 0; i < 3; i++) {
        rows[i] = buffer + i * n;
        whiches[i] = (int32_t *)(buffer + (3 + i) * n);
    }
    for (long k = -c; k < n + c; k++) padded[k] = -INFINITY;
    for (long y = -1; y < height; y++) {
        long above = (y + 3 - 1) % 3, here = (y + 3) % 3, below = (y + 3 + 1) % 3;
        if (y + 1 < height) {
            memcpy(padded, x + (y + 1) * numbers, numbers * sizeof(float));
            largest_of_row(padded, n, c, rows[below], whiches[below]);
        }
        if (y < 0) continue;
        for (long k = 0; k < n; k += 8) {
            v8 l = at(rows[here] + k);
            i8 w = *(i8 *)(whiches[here] + k) + 3;
            if (y > 0) {
                l = at(rows[above] + k);
                w = *(i8 *)(whiches[above] + k);
                TAKE_LARGER(at(rows[here] + k), (*(i8 *)(whiches[here] + k) + 3), l, w)
            }
            if (y + 1 < height) TAKE_LARGER(at(rows[below] + k), (*(i8 *)(whiches[below] + k) + 6), l, w)
            put(pooled + k, weight * l);
            if (position && k + 8 <= numbers)
                to_bytes(position + y * numbers + k, w);
            else if (position)
                for (long i = k; i < numbers; i++) position[y * numbers + i] = w[i - k];
        }
        memcpy(out + y * numbers, pooled, numbers * sizeof(float));
        put_terms(out - first_row * c, c, first_row + y * width, width, terms, n_terms);
    }
}

/* out = weight * max_pool(x) + the sum of the terms, all [images * height * width, c] and dense.
 * The pooling is 3x3 of stride 1; `position`, unless null, gets where in its window each largest value was. */
int pool_and_sum(const float *x, int64_t images, int64_t height, int64_t width, int64_t c, float weight, float *out,
                 uint8_t *position, const Term *terms, int64_t n_terms, int32_t threads)
{
    long n = 8 * (width * c + 8) + 2 * c, pixels = height * width;
    float *buffers = malloc(sizeof(float) * n * threads);
    if (!buffers) return 1;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < threads; part++)
        for (long i = images * part / threads; i < images * (part + 1) / threads; i++) {
            long at = i * pixels * c;
            FOR_WIDTH(c, pool_image(x + at, height, width, C, weight, out + at, position ? position + at : 0, terms,
                                    n_terms, i * pixels, buffers + part * n))
        }
    free(buffers);
    return 0;
}

/* Adds what a row of windows sends to the left, the middle and the right of them; dy is the row's place in them. */
#define SEND(gradient, position, dy)                                                                                   \
    {                                                                                                                  \
        v8 g = at(gradient);                                                                                           \
        i8 to = from_bytes(position) - 3 * (dy);                                       \
        l += where(to == 0, g);                                                                                        \
        m += where(to == 1, g);                                                                                        \
        r += where(to == 2, g);                                                                                        \
    }

INLINE double unpool_image(const float *gradient, const uint8_t *position, long height, long width, const long c,
                           float weight, const float *x, const float *more, float *out, float *buffer)
{
    long n = width * c, whole = n / 8 * 8;
    float *left = buffer, *middle = buffer + n, *right = buffer + 2 * n;
    double total = 0;
    for (long y = 0; y < height; y++) {
        const float *g_row = gradient + y * n;
        const uint8_t *p_row = position + y * n;
        for (long k = 0; k < whole; k += 8) {
            v8 l = {0}, m = {0}, r = {0};
            SEND(g_row + k, p_row + k, 1)
            if (y + 1 < height) SEND(g_row + n + k, p_row + n + k, 0)
            if (y > 0) SEND(g_row - n + k, p_row - n + k, 2)
            put(left + k, l);
            put(middle + k, m);
            put(right + k, r);
        }
        for (long k = whole; k < n; k++) {
            left[k] = middle[k] = right[k] = 0;
            for (long dy = 0; dy < 3; dy++) {
                if (y + 1 - dy < 0 || y + 1 - dy >= height) continue;
                int to = p_row[(1 - dy) * n + k] - 3 * dy;
                float g = g_row[(1 - dy) * n + k];
                if (to == 0) left[k] += g;
                if (to == 1) middle[k] += g;
                if (to == 2) right[k] += g;
            }
        }
        for (long k = 0; k < n - c; k++) middle[k] += left[k + c];
        for (long k = c; k < n; k++) middle[k] += right[k - c];
        if (x) total += dot(middle, c, x + y * n, c, width, c);
        float *restrict out_row = out + y * n;
        if (more)
            for (long k = 0; k < n; k++) out_row[k] = weight * middle[k] + more[y * n + k];
        else
            for (long k = 0; k < n; k++) out_row[k] = weight * middle[k];
    }
    return total;
}

/* The gradient of x behind `pool_and_sum`, plus `more` unless null; all dense.
 * `gradient` is that of its output.  With x, `of_weight` is the gradient of the weight. */
int unpool(const float *gradient, const uint8_t *position, int64_t images, int64_t height, int64_t width, int64_t c,
           float weight, const float *x, const float *more, float *out, double *of_weight, int32_t threads)
{
    long n = width * c, pixels = height * width;
    float *buffers = malloc(sizeof(float) * 3 * n * threads);
    double *totals = calloc(images, sizeof(double));
    if (!buffers || !totals) { free(buffers); free(totals); return 1; }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < threads; part++)
        for (long i = images * part / threads; i < images * (part + 1) / threads; i++) {
            long at = i * pixels * c;
            FOR_WIDTH(c, totals[i] = unpool_image(gradient + at, position + at, height, width, C, weight,
                                                  x ? x + at : 0, more ? more + at : 0, out + at,
                                                  buffers + part * 3 * n))
        }
    *of_weight = 0;
    for (long i = 0; i < images; i++) *of_weight += totals[i];
    free(buffers);
    free(totals);
    return 0;
}

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
                         const float *restrict z, long ldz, long rows, const long c, const float *restrict slope,
                         const float *restrict offset, const float *restrict by_z, const float *restrict constant)
{
    for (long r = 0; r < rows; r++, out += ldo, gradient += ldg, z += ldz) {
        long k = 0;
        for (; k + 8 <= c; k += 8) {
            v8 s = at(slope + k), x = at(z + k);
            v8 g = where(s * x + at(offset + k) > 0, at(gradient + k));
            put(out + k, s * g + (at(by_z + k) * x + at(constant + k)));
        }
        for (; k < c; k++) {
            float g = slope[k] * z[k] + offset[k] > 0 ? gradient[k] : 0;
            out[k] = slope[k] * g + (by_z[k] * z[k] + constant[k]);
        }
    }
}

/* of_parameters [2, c] = the gradients of scale and shift, from the sums that `add_gradients` made of each part. */
static void put_parameter_gradients(const double *partial, long parts, long step, long c, const float *normaliser,
                                    float *of_parameters)
{
    for (long k = 0; k < c; k++) {
        double of_shift = 0, of_slope = 0;
        for (long part = 0; part < parts; part++) {
            of_shift += partial[part * step + k];
            of_slope += partial[part * step + c + k];
        }
        of_parameters[k] = of_slope * normaliser[c + k];
        of_parameters[c + k] = of_shift;
    }
}

/* The gradients of scale and shift behind relu(batch_norm(z)), from those of its output's columns.
 * `normaliser` is [4, c] as the function of that name made it; `of_parameters` gets [2, c]: of the scale, the shift. */
int parameter_gradients(const Source *sources, int64_t n, const float *z, int64_t rows, int64_t c,
                        const float *normaliser, float *of_parameters, int32_t threads)
{
    long parts = parts_of(rows), length = part_length(rows);
    double *partial = calloc(parts * 2 * c, sizeof(double));
    float *sums = aligned(parts * 2 * c);
    if (!partial || !sums) { free(partial); free(sums); return 1; }
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < parts; part++) {
        double *total = partial + part * 2 * c;
        float *sum = sums + part * 2 * c;
        long end = smaller((part + 1) * length, rows);
        for (long r = part * length; r < end; r += BLOCK) {
            long height = smaller(BLOCK, end - r);
            start(sum, 2 * c);
            for (long i = 0; i < n; i++) {
                Source s = sources[i];
                const float *at_column = normaliser + s.column;
                FOR_WIDTH(s.width, add_gradients(s.gradient + r * s.ld, s.ld, z + r * c + s.column, c, height, C,
                                                 at_column, at_column + 2 * c, at_column + 3 * c, sum + s.column,
                                                 sum + c + s.column))
            }
            add_block(sum, 2 * c, total);
        }
    }
    put_parameter_gradients(partial, parts, 2 * c, c, normaliser, of_parameters);
    free(partial);
    free(sums);
    return 0;
}

/* What a block's readers send back: out [rows, c], dense, = the sum of the terms; and while that is in the cache,
 *     dots[i] = the scalar product of the i-th term's x with the block's output, the dense `output` [rows, c]; with
 *         `normaliser`, relu(slope * output + offset) takes its place; unless `output` is null;
 *     the gradients of scale and shift of each `normalised`, of which the block's output is a sum. */
int receive(float *out, int64_t rows, int64_t c, const Term *terms, int64_t n, const float *output,
            const float *normaliser, double *dots, const Normalised *normalised, int64_t n_normalised, int32_t threads)
{
    long parts = parts_of(rows), length = part_length(rows), tile = larger(TILE / c, 4), step = n + n_normalised * 2 * c;
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
            const float *y = output ? output + r * c : 0;
            if (y && normaliser) {
                Term whole = {y, normaliser + 2 * c, normaliser + 3 * c, c, 0, c, 1, 0};
                y = outputs + part * tile * c;
                put_terms(outputs + part * tile * c, c, 0, height, &whole, 1);
            }
            for (long i = 0; y && i < n; i++) {
                const float *x = terms[i].x + r * terms[i].ld;
                FOR_WIDTH(c, of_edges[i] += dot(x, terms[i].ld, y, C, height, C))
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
    add_parts(partial, parts, step, n, dots);
    for (long i = 0; i < n_normalised; i++)
        put_parameter_gradients(partial + n + i * 2 * c, parts, step, c, normalised[i].normaliser,
                                normalised[i].of_parameters);
    free(partial);
    free(sums);
    free(outputs);
    return 0;
}

/* The gradient of `rows` rows of z from row `first` on, of `all_rows` that were normalised together: out [rows, c]. */
int input_gradient(const Source *sources, int64_t n, const float *z, int64_t first, int64_t rows, int64_t all_rows,
                   int64_t c, const float *normaliser, const float *of_parameters, float *out, int32_t threads)
{
    const float *mean = normaliser, *inverse_std = normaliser + c;
    const float *slope = normaliser + 2 * c, *offset = normaliser + 3 * c;
    float *by_z = malloc(2 * c * sizeof(float)), *constant = by_z + c;
    if (!by_z) return 1;
    for (long k = 0; k < c; k++) {
        double factor = -(double)slope[k] * inverse_std[k] * of_parameters[k] / all_rows;
        by_z[k] = factor;
        constant[k] = -(double)slope[k] * of_parameters[c + k] / all_rows - factor * mean[k];
    }
    long parts = parts_of(rows), length = part_length(rows);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < parts; part++) {
        long end = smaller((part + 1) * length, rows);
        for (long r = part * length; r < end; r += BLOCK) {
            long height = smaller(BLOCK, end - r);
            for (long i = 0; i < n; i++) {
                Source s = sources[i];
                long k = s.column;
                FOR_WIDTH(s.width, put_gradient(out + r * c + k, c, s.gradient + (first + r) * s.ld, s.ld,
                                                z + (first + r) * c + k, c, height, C, slope + k, offset + k, by_z + k,
                                                constant + k))
            }
        }
    }
    free(by_z);
    return 0;
}
