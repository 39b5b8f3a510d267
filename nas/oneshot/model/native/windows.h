/* The transforms of Winograd's F(m, 3) in one dimension, for m = 2 and 4, known to the compiler.
 *
 * Lavin and Gray (2016), Fast Algorithms for Convolutional Neural Networks: the m outputs of a convolution of m + 2
 * inputs d with 3 weights g are  A' [(G g) * (B' d)].  The points are 0, infinity and +-1 for m = 2, and for m = 4 0,
 * infinity, +-3/4 and +-3/2: with the usual +-1 and +-2, twice as much would be lost to rounding.
 */
#pragma once
#include "vectors.h"

#define SIDE(m) ((m) + 2)
#define P 0.75f /* points, and their squares */
#define Q 1.5f
#define P2 (P * P)
#define Q2 (Q * Q)
#define UNROLL _Pragma("GCC unroll 36")

/* B' d */
INLINE void of_input(const v8 *d, v8 *out, const long m)
{
    if (m == 2) {
        out[0] = d[0] - d[2];
        out[1] = d[1] + d[2];
        out[2] = d[2] - d[1];
        out[3] = d[1] - d[3];
        return;
    }
    v8 even = d[4] - Q2 * d[2], odd = P * (d[3] - Q2 * d[1]);
    out[0] = (d[4] - (P2 + Q2) * d[2]) + P2 * Q2 * d[0];
    out[1] = even + odd;
    out[2] = even - odd;
    even = d[4] - P2 * d[2];
    odd = Q * (d[3] - P2 * d[1]);
    out[3] = even + odd;
    out[4] = even - odd;
    out[5] = (d[5] - (P2 + Q2) * d[3]) + P2 * Q2 * d[1];
}

/* A' u */
INLINE void of_output(const v8 *u, v8 *out, const long m)
{
    if (m == 2) {
        out[0] = u[0] + u[1] + u[2];
        out[1] = u[1] - u[2] - u[3];
        return;
    }
    v8 even = u[1] + u[2], odd = u[1] - u[2], even2 = u[3] + u[4], odd2 = u[3] - u[4];
    out[0] = u[0] + (even + even2);
    out[1] = P * odd + Q * odd2;
    out[2] = P2 * even + Q2 * even2;
    out[3] = (P * P2 * odd + Q * Q2 * odd2) + u[5];
}

/* A g */
INLINE void of_gradient(const v8 *g, v8 *out, const long m)
{
    if (m == 2) {
        out[0] = g[0];
        out[1] = g[0] + g[1];
        out[2] = g[0] - g[1];
        out[3] = -g[1];
        return;
    }
    v8 even = g[0] + P2 * g[2], odd = P * (g[1] + P2 * g[3]);
    out[0] = g[0];
    out[1] = even + odd;
    out[2] = even - odd;
    even = g[0] + Q2 * g[2];
    odd = Q * (g[1] + Q2 * g[3]);
    out[3] = even + odd;
    out[4] = even - odd;
    out[5] = g[3];
}

/* G g */
INLINE void of_kernel(const v8 *g, v8 *out, const long m)
{
    if (m == 2) {
        out[0] = g[0];
        out[1] = (g[0] + g[1] + g[2]) / 2;
        out[2] = (g[0] - g[1] + g[2]) / 2;
        out[3] = g[2];
        return;
    }
    const float of_p = 1 / (2 * P2 * (P2 - Q2)), of_q = 1 / (2 * Q2 * (Q2 - P2));
    v8 even = of_p * (g[0] + P2 * g[2]), odd = of_p * P * g[1];
    out[0] = g[0] / (P2 * Q2);
    out[1] = even + odd;
    out[2] = even - odd;
    even = of_q * (g[0] + Q2 * g[2]);
    odd = of_q * Q * g[1];
    out[3] = even + odd;
    out[4] = even - odd;
    out[5] = g[2];
}

/* G' u */
INLINE void back_to_kernel(const v8 *u, v8 *out, const long m)
{
    if (m == 2) {
        out[0] = u[0] + (u[1] + u[2]) / 2;
        out[1] = (u[1] - u[2]) / 2;
        out[2] = (u[1] + u[2]) / 2 + u[3];
        return;
    }
    const float of_p = 1 / (2 * P2 * (P2 - Q2)), of_q = 1 / (2 * Q2 * (Q2 - P2));
    v8 even = of_p * (u[1] + u[2]), even2 = of_q * (u[3] + u[4]);
    out[0] = u[0] / (P2 * Q2) + (even + even2);
    out[1] = of_p * P * (u[1] - u[2]) + of_q * Q * (u[3] - u[4]);
    out[2] = (P2 * even + Q2 * even2) + u[5];
}
