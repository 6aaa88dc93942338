/* The chains with a stopwatch: how much processor time of this thread went into products, and how many operations they
 * were. What benchmarks/update_profile.py runs in place of dreamer/speed/chains.c. */
#define product untimed
#include "../dreamer/speed/products.c"
#undef product
#include <time.h>

double seconds, operations;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

void product(const products *use, const char *kinds, int64_t m, int64_t n, const terms *parts, float keep, float *c,
             int64_t ld) {
    double begun = now();
    untimed(use, kinds, m, n, parts, keep, c, ld);
    seconds += now() - begun;
    operations += 2.0 * (double)m * (double)n * (double)(parts[0].k + parts[1].k);
}

#include "../dreamer/speed/chains.c"
