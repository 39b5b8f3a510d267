/* Sums of terms: weighted matrices, with or without a BatchNorm and a ReLU on the way. */
#include "parts.h"
#include "terms.h"

INLINE v8 relu(v8 x) { return where(~(x < 0), x); }

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

void put_terms(float *out, long ldo, long row, long rows, const Term *terms, long n)
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
