/* 3x3 max pooling of stride 1, with what is added to it, and its gradients. */
#include "terms.h"
#include <math.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

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
typedef uint8_t b8 __attribute__((vector_size(8), aligned(1), may_alias));
INLINE i8 choose(i8 mask, i8 a, i8 b) { return (mask & a) | (~mask & b); }
INLINE i8 from_bytes(const uint8_t *x) { return __builtin_convertvector(*(const b8 *)x, i8); }
INLINE void to_bytes(uint8_t *out, i8 x) { *(b8 *)out = __builtin_convertvector(x, b8); }
#endif

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
        i8 to = from_bytes(position) - 3 * (dy);                                                                       \
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
