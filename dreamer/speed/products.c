/* Matrix products: torch's own sgemm or, with AVX512-BF16, tiles of this file, which can round factors to bfloat16 on
 * the way (twice as fast; sums stay in float32) and take a sum whose first terms are rounded and whose last are exact.
 * Included by chains.c.
 *
 * The tiles are left out on Intel's processors, which have AMX or AVX512-FP16 besides: there sgemm is faster than they are.
 */

#pragma once
#include "scalars.h"

/* A matrix in memory: its first number, and the distance between two rows. */
typedef struct {
    float *at;
    int64_t ld;
} matrix;

/* Sizes are handed over as 64 bits, of which a library that knows 32 reads the lower half. */
typedef void (*gemm_t)(const char *, const char *, const int64_t *, const int64_t *, const int64_t *, const float *,
                       const float *, const int64_t *, const float *, const int64_t *, const float *, float *,
                       const int64_t *);

/* A weight as it was laid out for tiles. */
typedef struct laid {
    const float *w;
    int64_t kind;
    int32_t *at;
    struct laid *next;
} laid;

/* How products are made: by sgemm or, where that is null, in tiles; whether these may round, and what is laid out. */
typedef struct {
    gemm_t sgemm;
    int64_t rounds;
    laid **laid;
} products;

/* Terms of the sums of a product: k columns of x (m, k) times k rows of w (k, n), each as it is or transposed. */
typedef struct {
    int64_t k, exact;
    matrix x, w;
} terms;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

#if defined(__AVX512BF16__) && !defined(__AVX512FP16__) && !defined(__AMX_BF16__)
#include <immintrin.h>
#include <stdlib.h>

enum { TALL = 12, WIDE = 32 }; /* of a tile, whose sums fill 24 of the 32 vector registers */
typedef int32_t entry;         /* of a laid out factor: an exact number, or a pair of rounded ones, for successive k */

int64_t tiled(void) { return 1; }

static inline int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static inline int64_t length(const terms *part) { return part->exact ? part->k : (part->k + 1) / 2; }

static inline __mmask16 first(int64_t n) { return (__mmask16)_bzhi_u32(0xffff, (uint32_t)(n < 0 ? 0 : least(n, 16))); }

static inline __m512 load(const float *x, int64_t n) { return _mm512_maskz_loadu_ps(first(n), x); }

/* 16 entries along a row of which n numbers are left */
static inline __m512i along(const float *x, int64_t n, int64_t exact) {
    return exact ? _mm512_castps_si512(load(x, n)) : (__m512i)_mm512_cvtne2ps_pbh(load(x + 16, n - 16), load(x, n));
}

/* 16 entries side by side, of which n are left, of a row or, if rounded, of that and the next; k rows are left */
static inline __m512i across(const float *x, int64_t ld, int64_t n, int64_t k, int64_t exact) {
    uint16_t turns[32];
    for (int i = 0; i < 32; i++) turns[i] = (uint16_t)(i / 2 + i % 2 * 16);
    __m512 one = load(x, n);
    if (exact) return _mm512_castps_si512(one);
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(turns),
                                    (__m512i)_mm512_cvtne2ps_pbh(load(x + ld, k > 1 ? n : 0), one));
}

static inline void transpose(__m512i rows[16]) {
    const __m512i j = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __mmask16 odd[] = {0xaaaa, 0xcccc, 0xf0f0, 0xff00};
#pragma GCC unroll 4
    for (int bit = 0; bit < 4; bit++) {
        int s = 1 << bit;
        __m512i low = _mm512_mask_add_epi32(j, odd[bit], j, _mm512_set1_epi32(16 - s));
        __m512i high = _mm512_mask_add_epi32(_mm512_add_epi32(j, _mm512_set1_epi32(s)), odd[bit], j, _mm512_set1_epi32(16));
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            if (!(i & s)) {
                __m512i a = rows[i], b = rows[i + s];
                rows[i] = _mm512_permutex2var_epi32(a, low, b), rows[i + s] = _mm512_permutex2var_epi32(a, high, b);
            }
    }
}

/* x (rows, k) row by row */
static void lay_rows(int64_t rows, const terms *part, matrix x, entry *to, int64_t ld) {
    int64_t step = part->exact ? 16 : 32;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < part->k; j += step)
            _mm512_storeu_si512(to + r * ld + j * 16 / step, along(x.at + r * x.ld + j, part->k - j, part->exact));
}

/* x (k, n) in panels of `wide` columns, `apart` entries from each other */
static void lay_columns(int64_t n, const terms *part, matrix x, entry *to, int64_t wide, int64_t apart) {
    int64_t step = part->exact ? 1 : 2;
    for (int64_t start = 0; start < n; start += wide, to += apart) {
        entry *at = to;
        for (int64_t r = 0; r < part->k; r += step)
            for (int64_t j = start; j < start + wide; j += 16, at += 16)
                _mm512_storeu_si512(at, across(x.at + r * x.ld + j, x.ld, n - j, part->k - r, part->exact));
    }
}

/* x (n, k) transposed, in panels of WIDE columns, `apart` entries from each other */
static void lay_transposed(int64_t n, const terms *part, matrix x, entry *to, int64_t apart) {
    int64_t step = part->exact ? 16 : 32;
    for (int64_t r = 0; r < up(n, WIDE); r += 16)
        for (int64_t j = 0; j < part->k; j += step) {
            __m512i rows[16];
            for (int i = 0; i < 16; i++)
                rows[i] = along(x.at + (r + i) * x.ld + j, r + i < n ? part->k - j : 0, part->exact);
            transpose(rows);
            entry *at = to + r / WIDE * apart + j * 16 / step * WIDE + r % WIDE;
            for (int64_t i = 0; i < least(16, length(part) - j * 16 / step); i++)
                _mm512_storeu_si512(at + i * WIDE, rows[i]);
        }
}

/* c (tall, n) = keep * c + the sum over entries of a, `row` apart for each row and `step` for each, times a panel */
static inline __attribute__((always_inline)) void tile(const int tall, const int wide, int64_t n, int64_t pairs,
                                                       int64_t floats, const entry *a, int64_t row, int64_t step,
                                                       const entry *b, float keep, matrix c) {
    __m512 sums[TALL][2];
    for (int i = 0; i < tall; i++)
        for (int half = 0; half < wide; half++) sums[i][half] = _mm512_setzero_ps();
#define ADD(count, type, add)                                                       \
    for (int64_t k = 0; k < count; k++, b += WIDE, a += step) {                     \
        type left = (type)_mm512_loadu_si512(b), right = (type)_mm512_loadu_si512(b + 16); \
        for (int i = 0; i < tall; i++) {                                            \
            type x = (type)_mm512_set1_epi32(a[i * row]);                           \
            sums[i][0] = add(sums[i][0], x, left);                                  \
            if (wide > 1) sums[i][1] = add(sums[i][1], x, right);                   \
        }                                                                           \
    }
#define FUSED(sum, x, y) _mm512_fmadd_ps(x, y, sum)
    ADD(pairs, __m512bh, _mm512_dpbf16_ps)
    ADD(floats, __m512, FUSED)
    for (int i = 0; i < tall; i++)
        for (int half = 0; half < wide; half++) {
            float *to = c.at + i * c.ld + 16 * half;
            int64_t left = n - 16 * half;
            __m512 old = keep == 0.0f ? _mm512_setzero_ps() : load(to, left);
            __m512 sum = _mm512_fmadd_ps(old, _mm512_set1_ps(keep), sums[i][half]);
            _mm512_mask_storeu_ps(to, first(left), sum);
        }
}

static void tiles(int64_t m, int64_t n, int64_t pairs, int64_t floats, const entry *a, int64_t row, int64_t step,
                  const entry *b, float keep, matrix c) {
#define TILE(tall) \
    if (n - j > 16) tile(tall, 2, n - j, pairs, floats, a + i * row, row, step, panel, keep, to); \
    else tile(tall, 1, n - j, pairs, floats, a + i * row, row, step, panel, keep, to);
    for (int64_t j = 0; j < n; j += WIDE)
        for (int64_t i = 0, tall; i < m; i += tall) {
            const entry *panel = b + j * (pairs + floats);
            matrix to = {c.at + i * c.ld + j, c.ld};
            tall = m - i >= TALL ? TALL : m - i >= 4 ? 4 : 1;
            if (tall == TALL) {
                TILE(TALL)
            } else if (tall == 4) {
                TILE(4)
            } else {
                TILE(1)
            }
        }
}

/* w in panels of WIDE columns */
static entry *lay_weights(const products *use, char kind, int64_t n, const terms *parts, int64_t all) {
    const float *w = parts[parts[0].k ? 0 : 1].w.at;
    laid *known = use->laid ? *use->laid : 0;
    while (known && (known->w != w || known->kind != kind)) known = known->next;
    if (known) return known->at;
    entry *to = aligned_alloc(64, up((int64_t)sizeof(entry) * up(n, WIDE) * all, 64)), *at = to;
    for (int i = 0; i < 2; at += WIDE * length(parts + i++))
        kind == 'T' ? lay_transposed(n, parts + i, parts[i].w, at, WIDE * all)
                    : lay_columns(n, parts + i, parts[i].w, at, WIDE, WIDE * all);
    if (use->laid) {
        known = malloc(sizeof(laid));
        *known = (laid){w, kind, to, *use->laid}, *use->laid = known;
    }
    return to;
}

static void forget(laid *known) {
    for (laid *next; known; known = next) next = known->next, free(known->at), free(known);
}

static void in_tiles(const products *use, const char *kinds, int64_t m, int64_t n, const terms *given, float keep, matrix c) {
    terms parts[2] = {given[0], given[1]};
    for (int i = 0; i < 2; i++) parts[i].exact |= !use->rounds;
    int64_t lengths[] = {length(parts), length(parts + 1)}, all = lengths[0] + lengths[1];
    int64_t is_row = kinds[0] == 'N', ld = is_row ? up(lengths[0], 16) + up(lengths[1], 16) : up(m, 16);
    entry *a = aligned_alloc(64, up((int64_t)sizeof(entry) * (is_row ? m : all) * ld + 64, 64)), *at = a;
    for (int i = 0; i < 2; at += lengths[i++] * (is_row ? 1 : ld))
        is_row ? lay_rows(m, parts + i, parts[i].x, at, ld) : lay_columns(m, parts + i, parts[i].x, at, ld, 0);
    entry *b = lay_weights(use, kinds[1], n, parts, all);
    int64_t floats = (parts[0].exact ? lengths[0] : 0) + (parts[1].exact ? lengths[1] : 0);
    tiles(m, n, all - floats, floats, a, is_row ? ld : 1, is_row ? 1 : ld, b, keep, c);
    free(a);
    if (!use->laid) free(b);
}
#else
static void forget(laid *known) { (void)known; }

static void in_tiles(const products *use, const char *kinds, int64_t m, int64_t n, const terms *parts, float keep, matrix c) {
    (void)use, (void)kinds, (void)m, (void)n, (void)parts, (void)keep, (void)c;
}
#endif

/* c (m, n) = keep * c + the sum of two parts, of which the first is not exact if the second is not, and each may be empty. */
void product(const products *use, const char *kinds, int64_t m, int64_t n, const terms *parts, float keep, float *c, int64_t ld) {
    float one = 1.0f;
    if (m < 1 || n < 1) return;
    if (!use->sgemm) {
        in_tiles(use, kinds, m, n, parts, keep, (matrix){c, ld});
        return;
    }
    for (int i = 0; i < 2; i++) {
        const terms *part = parts + i;
        if (i ? !part->k : !part->k && parts[1].k) continue;
        use->sgemm(kinds + 1, kinds, &n, &m, &part->k, &one, part->w.at, &part->w.ld, part->x.at, &part->x.ld, &keep, c, &ld);
        keep = 1.0f;
    }
}
