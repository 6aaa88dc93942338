/* Fused row kernels of the mind: what plain torch does in five to twelve passes, in one or two.
 *
 * Every matrix is row-major float32; ld_x is the distance between two rows of x in floats. Nothing is allocated, no
 * thread is made, no global is kept. Included by chains.c.
 * Comparisons are written so that a NaN stays a NaN: the learner must see it to skip the update.
 */
#pragma once
#include "scalars.h"

/* y (rows, n) becomes y / rms(y), out = silu(y * scale), inverse (rows,) = 1 / rms. */
static void norm_silu_forward(int64_t rows, int64_t n, float eps, float *restrict y, const float *restrict scale,
                              float *restrict out, int64_t ld_out, float *restrict inverse) {
    for (int64_t r = 0; r < rows; r++, y += n, out += ld_out) {
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < n; j++) sum += y[j] * y[j];
        float inv = 1.0f / sqrtf(sum / (float)n + eps);
        inverse[r] = inv;
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            y[j] *= inv;
            float u = y[j] * scale[j];
            out[j] = u * sigmoid(u);
        }
    }
}

/* From the gradient at out, which is overwritten: y becomes dy, and the gradient at scale is added to dscale (n,). */
static void norm_silu_backward(int64_t rows, int64_t n, float *restrict dout, int64_t ld_dout, float *restrict y,
                               const float *restrict scale, const float *restrict inverse, float *restrict dscale) {
    for (int64_t r = 0; r < rows; r++, y += n, dout += ld_dout) {
        float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < n; j++) {
            float u = y[j] * scale[j], s = sigmoid(u);
            float du = dout[j] * s * (1.0f + u * (1.0f - s));
            dscale[j] += du * y[j];
            dout[j] = du * scale[j];
            dot += dout[j] * y[j];
        }
        dot /= (float)n;
        float inv = inverse[r];
#pragma omp simd
        for (int64_t j = 0; j < n; j++) y[j] = (dout[j] - y[j] * dot) * inv;
    }
}

/* The recurrent cell after its product: gates (rows, 3 n) become gates / rms, out the next h. */
static void gru_forward(int64_t rows, int64_t n, float eps, float *restrict gates, const float *restrict scale,
                        const float *restrict h, int64_t ld_h, float *restrict out, int64_t ld_out,
                        float *restrict inverse) {
    for (int64_t r = 0; r < rows; r++, gates += 3 * n, h += ld_h, out += ld_out) {
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < 3 * n; j++) sum += gates[j] * gates[j];
        float inv = 1.0f / sqrtf(sum / (float)(3 * n) + eps);
        inverse[r] = inv;
#pragma omp simd
        for (int64_t j = 0; j < 3 * n; j++) gates[j] *= inv;
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            float reset = sigmoid(gates[j] * scale[j]);
            float candidate = 2.0f * sigmoid(2.0f * reset * gates[n + j] * scale[n + j]) - 1.0f;
            float update = sigmoid(gates[2 * n + j] * scale[2 * n + j] - 1.0f);
            out[j] = h[j] + update * (candidate - h[j]);
        }
    }
}

/* From the gradient at the next h: gates become dgates, dh (rows, n) is that without the part through the product; of
 * the scale it is added. room: 3 n floats. */
static void gru_backward(int64_t rows, int64_t n, const float *restrict dout, int64_t ld_dout, float *restrict gates,
                         const float *restrict scale, const float *restrict inverse, const float *restrict h,
                         int64_t ld_h, float *restrict room, float *restrict dh, float *restrict dscale) {
    for (int64_t r = 0; r < rows; r++, gates += 3 * n, h += ld_h, dout += ld_dout, dh += n) {
        float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < n; j++) {
            float reset = sigmoid(gates[j] * scale[j]);
            float inner = gates[n + j] * scale[n + j];
            float candidate = 2.0f * sigmoid(2.0f * reset * inner) - 1.0f;
            float update = sigmoid(gates[2 * n + j] * scale[2 * n + j] - 1.0f);
            float dcandidate = dout[j] * update * (1.0f - candidate * candidate);
            float d0 = dcandidate * inner * reset * (1.0f - reset);
            float d1 = dcandidate * reset;
            float d2 = dout[j] * (candidate - h[j]) * update * (1.0f - update);
            dh[j] = dout[j] * (1.0f - update);
            dscale[j] += d0 * gates[j];
            dscale[n + j] += d1 * gates[n + j];
            dscale[2 * n + j] += d2 * gates[2 * n + j];
            room[j] = d0 * scale[j];
            room[n + j] = d1 * scale[n + j];
            room[2 * n + j] = d2 * scale[2 * n + j];
            dot += room[j] * gates[j] + room[n + j] * gates[n + j] + room[2 * n + j] * gates[2 * n + j];
        }
        dot /= (float)(3 * n);
        float inv = inverse[r];
#pragma omp simd
        for (int64_t j = 0; j < 3 * n; j++) gates[j] = (room[j] - gates[j] * dot) * inv;
    }
}

/* In each row of logits (rows, c): softmax into soft. The exponentials of all rows in one loop, as rows are short. */
static void softmax_rows(int64_t rows, int64_t c, const float *restrict logits, float *restrict soft) {
    for (int64_t r = 0; r < rows; r++) {
        const float *l = logits + r * c;
        float most = l[0];
        for (int64_t k = 1; k < c; k++) most = l[k] > most ? l[k] : most;
        for (int64_t k = 0; k < c; k++) soft[r * c + k] = l[k] - most;
    }
#pragma omp simd
    for (int64_t i = 0; i < rows * c; i++) soft[i] = exp_fast(soft[i]);
    for (int64_t r = 0; r < rows; r++) {
        float *s = soft + r * c, sum = 0.0f;
        for (int64_t k = 0; k < c; k++) sum += s[k];
        for (int64_t k = 0; k < c; k++) s[k] *= 1.0f / sum;
    }
}

/* Draw one class in each of g groups by inversion: logits, soft, one_hot (rows, g c), uniform (rows, g). */
static void draw_forward(int64_t rows, int64_t g, int64_t c, float unimix, const float *restrict logits,
                         const float *restrict uniform, float *restrict soft, float *restrict one_hot, int64_t ld) {
    softmax_rows(rows * g, c, logits, soft);
    float share = 1.0f - unimix, floor = unimix / (float)c;
    for (int64_t r = 0; r < rows; r++) {
        memset(one_hot + r * ld, 0, sizeof(float) * g * c);
        for (int64_t i = 0; i < g; i++, soft += c, uniform++) {
            float edge = 0.0f;
            int64_t k = 0;
            for (; k < c - 1; k++) {
                edge += soft[k] * share + floor;
                if (!(*uniform > edge)) break;
            }
            one_hot[r * ld + i * c + k] = 1.0f;
        }
    }
}

/* Straight-through: the gradient dz (rows, g c) at the samples, taken back to the logits and added to dlogits. */
static void draw_backward(int64_t rows, int64_t g, int64_t c, float unimix, const float *restrict dz, int64_t ld,
                          const float *restrict soft, float *restrict dlogits) {
    float share = 1.0f - unimix;
    for (int64_t i = 0; i < rows * g; i++, soft += c, dlogits += c) {
        const float *d = dz + i / g * ld + i % g * c;
        float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
        for (int64_t k = 0; k < c; k++) dot += d[k] * soft[k];
#pragma omp simd
        for (int64_t k = 0; k < c; k++) dlogits[k] += share * soft[k] * (d[k] - dot);
    }
}

/* kl (rows,) = KL(one || two) summed over g groups of c classes; soft_one, soft_two (rows, g c) kept for backward. */
void kl_forward(int64_t rows, int64_t g, int64_t c, float unimix, const float *restrict one,
                const float *restrict two, float *restrict soft_one, float *restrict soft_two, float *restrict kl) {
    softmax_rows(rows * g, c, one, soft_one);
    softmax_rows(rows * g, c, two, soft_two);
    float share = 1.0f - unimix, floor = unimix / (float)c;
    for (int64_t r = 0; r < rows; r++, soft_one += g * c, soft_two += g * c) {
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t k = 0; k < g * c; k++) {
            float p = soft_one[k] * share + floor, q = soft_two[k] * share + floor;
            sum += p * (log_fast(p) - log_fast(q));
        }
        kl[r] = sum;
    }
}

/* done, dtwo (rows, g c) at the logits, from the gradients at the KL: grad_one for one, grad_two for two (rows,). */
void kl_backward(int64_t rows, int64_t g, int64_t c, float unimix, const float *restrict soft_one,
                 const float *restrict soft_two, const float *restrict grad_one, const float *restrict grad_two,
                 float *restrict done, float *restrict dtwo) {
    float share = 1.0f - unimix, floor = unimix / (float)c;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < g; i++, soft_one += c, soft_two += c, done += c, dtwo += c) {
            float dot_one = 0.0f, dot_two = 0.0f;
#pragma omp simd reduction(+ : dot_one, dot_two)
            for (int64_t k = 0; k < c; k++) {
                float p = soft_one[k] * share + floor, q = soft_two[k] * share + floor;
                done[k] = grad_one[r] * share * (log_fast(p) - log_fast(q));
                dtwo[k] = -grad_two[r] * share * p / q;
                dot_one += done[k] * soft_one[k];
                dot_two += dtwo[k] * soft_two[k];
            }
#pragma omp simd
            for (int64_t k = 0; k < c; k++) {
                done[k] = soft_one[k] * (done[k] - dot_one);
                dtwo[k] = soft_two[k] * (dtwo[k] - dot_two);
            }
        }
}

/* One step of LaProp on one tensor of n numbers; gradient * factor is the clipped gradient. */
void laprop_step(int64_t n, float *restrict weight, const float *restrict gradient, float *restrict square,
                 float *restrict mean, float factor, float beta1, float beta2, float correction, float rate,
                 float epsilon) {
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        float d = gradient[j] * factor;
        square[j] = square[j] * beta2 + (1.0f - beta2) * d * d;
        mean[j] += (1.0f - beta1) * (d / (sqrtf(square[j] / correction) + epsilon) - mean[j]);
        weight[j] -= rate * mean[j];
    }
}
