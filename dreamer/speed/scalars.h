/* Functions of one number that a compiler can turn into vector code. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float exp_fast(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    float n = rintf(x * 1.44269504088896341f);
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}

static inline float log_fast(float x) { /* x > 0 and not denormal */
    int32_t bits;
    memcpy(&bits, &x, 4);
    bits -= 0x3f3504f3;
    float e = (float)(bits >> 23);
    bits = (bits & 0x007fffff) + 0x3f3504f3;
    float m;
    memcpy(&m, &bits, 4);
    m -= 1.0f;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    float square = m * m;
    float y = p * m * square - e * 2.12194440e-4f - 0.5f * square;
    return (m + y) + e * 0.693359375f;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exp_fast(-x)); }

/* x sigmoid(x), by way of a logarithm: what a caller compares with its own result before it trusts a library. */
float probe(float x) { return log_fast(exp_fast(x)) * sigmoid(x); }
