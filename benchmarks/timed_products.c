/* torch's matrix product with a stopwatch: how much processor time of this thread went into products, and how many
 * operations they were. What benchmarks/update_profile.py hands to the compiled chains in its place. */
#include "../dreamer/speed/scalars.h"
#include <time.h>

typedef const int64_t *whole;
typedef void (*gemm_t)(const char *, const char *, whole, whole, whole, const float *, const float *, whole,
                       const float *, whole, const float *, float *, whole);

gemm_t products[2];
double seconds, operations;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

static void timed(gemm_t product, const char *kind_a, const char *kind_b, whole m, whole n, whole k, const float *alpha,
                  const float *a, whole ld_a, const float *b, whole ld_b, const float *beta, float *c, whole ld_c) {
    double begun = now();
    product(kind_a, kind_b, m, n, k, alpha, a, ld_a, b, ld_b, beta, c, ld_c);
    seconds += now() - begun;
    operations += 2.0 * (double)*m * (double)*n * (double)*k;
}

#define TIMED(name, product) \
    void name(const char *kind_a, const char *kind_b, whole m, whole n, whole k, const float *alpha, const float *a, \
              whole ld_a, const float *b, whole ld_b, const float *beta, float *c, whole ld_c) { \
        timed(product, kind_a, kind_b, m, n, k, alpha, a, ld_a, b, ld_b, beta, c, ld_c); \
    }
TIMED(timed_exact, products[0])
TIMED(timed_half, products[1])
