/* Whole chains of operations in one call: Python and its lock are met once instead of after every operation.
 *
 * Products are torch's own sgemm (Fortran's interface, handed over as a pointer), the rest the row kernels. Matrices
 * are row-major, weights (outputs, inputs) as torch.nn.Linear keeps them; nothing is allocated here. dreamer/speed/fused.py
 * holds the calls.
 */
#include "kernels.c"

enum { BLOCK = PERCEPTRON_ROWS }; /* rows that go through a perceptron together: they stay in the cache */

/* Sizes are handed over as 64 bits, of which a library that knows 32 reads the lower half. */
typedef void (*gemm_t)(const char *, const char *, const int64_t *, const int64_t *, const int64_t *, const float *,
                       const float *, const int64_t *, const float *, const int64_t *, const float *, float *,
                       const int64_t *);

/* A matrix in memory: its first number, and the distance between two rows. */
typedef struct {
    float *at;
    int64_t ld;
} matrix;

static void gemm_columns(gemm_t gemm, const char *kinds, int64_t m, int64_t n, int64_t k, matrix a, matrix b,
                         float keep, matrix c) {
    float one = 1.0f;
    gemm(kinds, kinds + 1, &m, &n, &k, &one, a.at, &a.ld, b.at, &b.ld, &keep, c.at, &c.ld);
}

/* y (rows, outputs) = keep * y + x (rows, inputs) w^T */
static void multiply(gemm_t gemm, int64_t rows, int64_t inputs, int64_t outputs, matrix x, matrix w, float keep,
                     matrix y) {
    gemm_columns(gemm, "TN", outputs, rows, inputs, w, x, keep, y);
}

/* dx (rows, inputs) = keep * dx + dy (rows, outputs) w */
static void multiply_back(gemm_t gemm, int64_t rows, int64_t inputs, int64_t outputs, matrix dy, matrix w, float keep,
                          matrix dx) {
    gemm_columns(gemm, "NN", inputs, rows, outputs, w, dy, keep, dx);
}

/* dw (outputs, inputs) = keep * dw + dy^T (rows, outputs) x (rows, inputs) */
static void gradient(gemm_t gemm, int64_t rows, int64_t inputs, int64_t outputs, matrix dy, matrix x, float keep,
                     matrix dw) {
    gemm_columns(gemm, "NT", inputs, outputs, rows, x, dy, keep, dw);
}

static void copy_rows(int64_t rows, int64_t n, matrix from, matrix to) {
    for (int64_t r = 0; r < rows; r++) memcpy(to.at + r * to.ld, from.at + r * from.ld, sizeof(float) * n);
}

/* y (rows, outputs) = bias + x w^T */
static void affine(gemm_t gemm, int64_t rows, int64_t inputs, int64_t outputs, matrix x, matrix w, float *bias,
                   matrix y) {
    copy_rows(rows, outputs, (matrix){bias, 0}, y);
    multiply(gemm, rows, inputs, outputs, x, w, 1.0f, y);
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* result (rows, outputs) of x (rows, inputs). weights: matrix and scale of each hidden layer, matrix and bias of the
 * last. sums, outs (depth, layer_rows, units) and inverses (depth, layer_rows) keep what the way back needs; with keep
 * 0 they are only room for one block. */
void perceptron_forward(void *gemm, int64_t rows, int64_t depth, int64_t inputs, int64_t units, int64_t outputs,
                        float eps, float *x, int64_t ld_x, float **weights, float *sums, float *outs, float *inverses,
                        int64_t layer_rows, int64_t keep, float *result) {
    for (int64_t start = 0; start < rows; start += BLOCK) {
        int64_t count = least(BLOCK, rows - start), place = keep ? start : 0, width = inputs;
        matrix seen = {x + start * ld_x, ld_x};
        for (int64_t layer = 0; layer < depth; layer++, width = units) {
            int64_t row = layer * layer_rows + place;
            matrix y = {sums + row * units, units}, out = {outs + row * units, units};
            multiply(gemm, count, width, units, seen, (matrix){weights[2 * layer], width}, 0.0f, y);
            norm_silu_forward(count, units, eps, y.at, weights[2 * layer + 1], out.at, units, inverses + row);
            seen = out;
        }
        matrix done = {result + start * outputs, outputs}, last = {weights[2 * depth], units};
        affine(gemm, count, units, outputs, seen, last, weights[2 * depth + 1], done);
    }
}

/* The gradients of all weights (those of scales and bias are added), and dx (rows, inputs) unless it is null. room: 2 BLOCK units floats. */
void perceptron_backward(void *gemm, int64_t rows, int64_t depth, int64_t inputs, int64_t units, int64_t outputs,
                         float *x, int64_t ld_x, float **weights, float **gradients, float *sums, float *outs,
                         float *inverses, int64_t layer_rows, float *dresult, float *room, float *dx) {
    matrix dout = {room, units}, dy = {room + BLOCK * units, units};
    for (int64_t start = 0; start < rows; start += BLOCK) {
        int64_t count = least(BLOCK, rows - start);
        float keep = start ? 1.0f : 0.0f;
        matrix given = {dresult + start * outputs, outputs}, last = {weights[2 * depth], units};
        matrix out = {outs + ((depth - 1) * layer_rows + start) * units, units};
        gradient(gemm, count, units, outputs, given, out, keep, (matrix){gradients[2 * depth], units});
        float *dbias = gradients[2 * depth + 1];
        for (int64_t r = 0; r < count; r++)
            for (int64_t j = 0; j < outputs; j++) dbias[j] += given.at[r * outputs + j];
        multiply_back(gemm, count, units, outputs, given, last, 0.0f, dout);
        for (int64_t layer = depth - 1; layer >= 0; layer--) {
            int64_t row = layer * layer_rows + start, width = layer ? units : inputs;
            matrix w = {weights[2 * layer], width};
            matrix seen = layer ? (matrix){outs + (row - layer_rows) * units, units} : (matrix){x + start * ld_x, ld_x};
            norm_silu_backward(count, units, dout.at, units, sums + row * units, weights[2 * layer + 1],
                               inverses + row, dy.at, gradients[2 * layer + 1]);
            gradient(gemm, count, width, units, dy, seen, keep, (matrix){gradients[2 * layer], width});
            if (layer)
                multiply_back(gemm, count, units, units, dy, w, 0.0f, dout);
            else if (dx)
                multiply_back(gemm, count, inputs, units, dy, w, 0.0f, (matrix){dx + start * inputs, inputs});
        }
    }
}

static void add_rows(int64_t rows, int64_t n, matrix x, matrix to) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) to.at[r * to.ld + j] += x.at[r * x.ld + j];
}

/* A step of the memory: the next h (rows, hidden) from x (rows, inputs), what the input layer sees, and h. weights:
 * matrix and scale of the input layer, matrix and scale of the cell. into (rows, units), joined (rows, units + hidden),
 * gates (rows, 3 hidden) and inverses (2, rows) keep what the way back needs. */
void advance_forward(void *gemm, int64_t rows, int64_t inputs, int64_t units, int64_t hidden, float eps, float *x,
                     float *h, float **weights, float *into, float *joined, float *gates, float *inverses,
                     float *next) {
    int64_t wide = units + hidden;
    matrix sums = {into, units}, both = {joined, wide}, open = {gates, 3 * hidden};
    multiply(gemm, rows, inputs, units, (matrix){x, inputs}, (matrix){weights[0], inputs}, 0.0f, sums);
    norm_silu_forward(rows, units, eps, into, weights[1], joined, wide, inverses);
    copy_rows(rows, hidden, (matrix){h, hidden}, (matrix){joined + units, wide});
    multiply(gemm, rows, wide, 3 * hidden, both, (matrix){weights[2], wide}, 0.0f, open);
    gru_forward(rows, hidden, eps, gates, weights[3], joined + units, wide, next, hidden, inverses + rows);
}

/* From the gradient at the next h: those at x, h and the weights; of the scales they are added. room: rows (4 hidden + 2 units)
 * floats. */
void advance_backward(void *gemm, int64_t rows, int64_t inputs, int64_t units, int64_t hidden, float *x,
                      float **weights, float **gradients, float *into, float *joined, float *gates, float *inverses,
                      float *dnext, float *room, float *dx, float *dh) {
    int64_t wide = units + hidden;
    matrix dopen = {room, 3 * hidden}, dboth = {dopen.at + rows * 3 * hidden, wide};
    matrix dsums = {dboth.at + rows * wide, units};
    gru_backward(rows, hidden, dnext, gates, weights[3], inverses + rows, joined + units, wide, dopen.at, dh,
                 gradients[3]);
    gradient(gemm, rows, wide, 3 * hidden, dopen, (matrix){joined, wide}, 0.0f, (matrix){gradients[2], wide});
    multiply_back(gemm, rows, wide, 3 * hidden, dopen, (matrix){weights[2], wide}, 0.0f, dboth);
    add_rows(rows, hidden, (matrix){dboth.at + units, wide}, (matrix){dh, hidden});
    norm_silu_backward(rows, units, dboth.at, wide, into, weights[1], inverses, dsums.at, gradients[1]);
    gradient(gemm, rows, inputs, units, dsums, (matrix){x, inputs}, 0.0f, (matrix){gradients[0], inputs});
    multiply_back(gemm, rows, inputs, units, dsums, (matrix){weights[0], inputs}, 0.0f, (matrix){dx, inputs});
}
