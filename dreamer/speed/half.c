/* Matrix products of float32 whose factors are rounded to bfloat16 on the way, summed in float32: twice as fast on
 * processors with AVX512-BF16. Behind sgemm's interface, for alpha 1. A number of 32 bits holds a pair: what two
 * successive steps of the sum multiply. Included by chains.c.
 *
 * Left out where the processor has AMX: there these instructions are no faster than those of float32.
 */
#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
#include <immintrin.h>
#include <stdlib.h>

enum { TALL = 12, WIDE = 32 }; /* of a tile, whose sums fill 24 of the 32 vector registers */
typedef uint32_t pair;

static inline int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static inline __mmask16 first(int64_t n) { return (__mmask16)(n >= 16 ? 0xffff : n <= 0 ? 0 : (1 << n) - 1); }

static inline __m256i rounded16(const float *x, __mmask16 some) {
    return (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, x));
}

/* x (rows, k) as pairs along k */
static void pair_columns(int64_t rows, int64_t k, matrix x, pair *to, int64_t ld) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < k; j += 16)
            _mm256_storeu_si256((__m256i *)(to + r * ld + j / 2), rounded16(x.at + r * x.ld + j, first(k - j)));
}

/* x (k, n) as pairs along k, in panels of `wide` columns, each (k / 2, wide) */
static void pair_rows(int64_t k, int64_t n, matrix x, pair *to, int64_t wide) {
    for (int64_t start = 0; start < n; start += wide)
        for (int64_t r = 0; r < k; r += 2)
            for (int64_t j = 0; j < wide; j += 16, to += 16) {
                const float *from = x.at + r * x.ld + start + j;
                __mmask16 some = first(n - start - j), more = r + 1 < k ? some : 0;
                __m512i one = _mm512_cvtepu16_epi32(rounded16(from, some));
                __m512i two = _mm512_cvtepu16_epi32(rounded16(from + x.ld, more));
                _mm512_storeu_si512(to, _mm512_or_si512(one, _mm512_slli_epi32(two, 16)));
            }
}

/* x (n, k) transposed, as pairs along k, in panels of WIDE columns */
static void pair_transposed(int64_t k, int64_t n, matrix x, pair *to) {
    int64_t pairs = (k + 1) / 2;
    pair line[8];
    for (int64_t r = 0; r < up(n, WIDE); r++)
        for (int64_t j = 0; j < pairs; j += 8) {
            _mm256_storeu_si256((__m256i *)line, rounded16(x.at + r * x.ld + 2 * j, r < n ? first(k - 2 * j) : 0));
            for (int64_t i = 0; i < least(8, pairs - j); i++)
                to[(r / WIDE * pairs + j + i) * WIDE + r % WIDE] = line[i];
        }
}

/* c (tall, n) = keep * c + the sum over pairs of a, `row` apart for each row and `step` for each pair, times a panel */
static inline __attribute__((always_inline)) void tile(const int tall, int64_t n, int64_t pairs, const pair *a,
                                                       int64_t row, int64_t step, const pair *b, float keep, matrix c) {
    __m512 sums[TALL][2];
    for (int i = 0; i < tall; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    for (int64_t k = 0; k < pairs; k++, b += WIDE, a += step) {
        __m512bh left = (__m512bh)_mm512_loadu_si512(b), right = (__m512bh)_mm512_loadu_si512(b + 16);
        for (int i = 0; i < tall; i++) {
            __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[i * row]);
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], x, left), sums[i][1] = _mm512_dpbf16_ps(sums[i][1], x, right);
        }
    }
    for (int i = 0; i < tall; i++)
        for (int half = 0; half < 2; half++) {
            __mmask16 some = first(n - 16 * half);
            float *to = c.at + i * c.ld + 16 * half;
            __m512 old = keep == 0.0f ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(some, to);
            _mm512_mask_storeu_ps(to, some, _mm512_fmadd_ps(old, _mm512_set1_ps(keep), sums[i][half]));
        }
}

static void tiles(int64_t m, int64_t n, int64_t pairs, const pair *a, int64_t row, int64_t step, const pair *b,
                  float keep, matrix c) {
#define TILE(tall) \
    case tall: tile(tall, n - j, pairs, a + i * row, row, step, b + j * pairs, keep, to); break;
    for (int64_t j = 0; j < n; j += WIDE)
        for (int64_t i = 0; i < m; i += TALL) {
            matrix to = {c.at + i * c.ld + j, c.ld};
            switch (least(TALL, m - i)) {
                TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12)
            }
        }
}

/* sgemm with its matrices seen row by row: c (m, n) = keep * c + x w, of which x or w is given transposed. */
void half_gemm(const char *kind_w, const char *kind_x, const int64_t *columns, const int64_t *rows,
               const int64_t *inner, const float *alpha, const float *w_at, const int64_t *ld_w, const float *x_at,
               const int64_t *ld_x, const float *keep, float *c, const int64_t *ld_c) {
    int64_t m = *rows, n = *columns, k = *inner, pairs = (k + 1) / 2, is_row = *kind_x == 'N';
    int64_t ld = is_row ? up(pairs, 8) : up(m, 16), panels = up(n, WIDE) * pairs;
    matrix w = {(float *)w_at, *ld_w}, x = {(float *)x_at, *ld_x};
    pair *b = aligned_alloc(64, up(sizeof(pair) * (panels + (is_row ? m : pairs) * ld), 64)), *a = b + panels;
    *kind_w == 'T' ? pair_transposed(k, n, w, b) : pair_rows(k, n, w, b, WIDE);
    is_row ? pair_columns(m, k, x, a, ld) : pair_rows(k, m, x, a, ld);
    tiles(m, n, pairs, a, is_row ? ld : 1, is_row ? 1 : ld, b, *keep, (matrix){c, *ld_c});
    free(b);
}
#endif
