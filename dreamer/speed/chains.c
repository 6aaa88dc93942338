/* Whole chains of operations in one call: Python and its lock are met once instead of after every operation.
 *
 * Products are torch's own sgemm (Fortran's interface, handed over as a pointer), the rest the row kernels. Matrices
 * are row-major, weights (outputs, inputs) as torch.nn.Linear keeps them; nothing is allocated here. dreamer/speed/fused.py
 * and fused_sequence.py hold the calls, and the same chains in torch.
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

/* dw (outputs, inputs) += dy^T (rows, outputs) x (rows, inputs) */
static void add_gradient(gemm_t gemm, int64_t rows, int64_t inputs, int64_t outputs, matrix dy, matrix x, matrix dw) {
    gemm_columns(gemm, "NT", inputs, outputs, rows, x, dy, 1.0f, dw);
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

/* Adds the gradients of all weights, and writes dx (rows, inputs) unless it is null. room: 2 BLOCK units floats. */
void perceptron_backward(void *gemm, int64_t rows, int64_t depth, int64_t inputs, int64_t units, int64_t outputs,
                         float *x, int64_t ld_x, float **weights, float **gradients, float *sums, float *outs,
                         float *inverses, int64_t layer_rows, float *dresult, float *room, float *dx) {
    matrix dout = {room, units}, dy = {room + BLOCK * units, units};
    for (int64_t start = 0; start < rows; start += BLOCK) {
        int64_t count = least(BLOCK, rows - start);
        matrix given = {dresult + start * outputs, outputs}, last = {weights[2 * depth], units};
        matrix out = {outs + ((depth - 1) * layer_rows + start) * units, units};
        add_gradient(gemm, count, units, outputs, given, out, (matrix){gradients[2 * depth], units});
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
            add_gradient(gemm, count, width, units, dy, seen, (matrix){gradients[2 * layer], width});
            if (layer)
                multiply_back(gemm, count, units, units, dy, w, 0.0f, dout);
            else if (dx)
                multiply_back(gemm, count, inputs, units, dy, w, 0.0f, (matrix){dx + start * inputs, inputs});
        }
    }
}

/* The weights of a sequence model, in the order of dreamer/speed/fused_sequence.py's Weights. */
enum { INPUT, INPUT_SCALE, CELL, CELL_SCALE, POST, POST_SCALE, POST_OUT, POST_BIAS };
enum { PRIOR = POST_BIAS + 1, PRIOR_SCALE, PRIOR_OUT, PRIOR_BIAS };

/* One step of the dream, from state (rows, hidden + latent) to out. index (rows, groups) tells where state's z is hot,
 * or is null; drawn gets that of out. table is the input's matrix turned round, (latent + actions, units). room:
 * rows (4 units + 4 hidden + 2 latent + 1) floats. */
void dream_step(void *gemm, int64_t rows, int64_t actions, int64_t units, int64_t hidden, int64_t groups,
                int64_t classes, float unimix, float eps, float *state, int64_t ld_state, int32_t *index,
                float *action, float *uniform, float **weights, float *table, float *room, float *out, int64_t ld_out,
                int32_t *drawn) {
    int64_t latent = groups * classes, wide = units + hidden;
    matrix into = {room, units}, joined = {into.at + rows * units, wide};
    matrix gates = {joined.at + rows * wide, 3 * hidden}, inner = {gates.at + rows * 3 * hidden, units};
    matrix active = {inner.at + rows * units, units}, logits = {active.at + rows * units, latent};
    matrix soft = {logits.at + rows * latent, latent}, before = {joined.at + units, wide}, next = {out, ld_out};
    float *inverse = soft.at + rows * latent;
    multiply_back(gemm, rows, units, actions, (matrix){action, actions}, (matrix){table + latent * units, units}, 0.0f,
                  into);
    if (index)
        add_rows(rows, units, groups, index, table, units, into.at, units);
    else
        multiply_back(gemm, rows, units, latent, (matrix){state + hidden, ld_state}, (matrix){table, units}, 1.0f,
                      into);
    copy_rows(rows, hidden, (matrix){state, ld_state}, before);
    norm_silu_forward(rows, units, eps, into.at, weights[INPUT_SCALE], joined.at, wide, inverse);
    multiply(gemm, rows, wide, 3 * hidden, joined, (matrix){weights[CELL], wide}, 0.0f, gates);
    gru_forward(rows, hidden, eps, gates.at, weights[CELL_SCALE], before.at, wide, out, ld_out, inverse);
    multiply(gemm, rows, hidden, units, next, (matrix){weights[PRIOR], hidden}, 0.0f, inner);
    norm_silu_forward(rows, units, eps, inner.at, weights[PRIOR_SCALE], active.at, units, inverse);
    affine(gemm, rows, units, latent, active, (matrix){weights[PRIOR_OUT], units}, weights[PRIOR_BIAS], logits);
    categorical_forward(rows, groups, classes, unimix, logits.at, uniform, soft.at, out + hidden, ld_out, drawn);
}

/* What the filter keeps of each step for the way back, each (time, batch, ...) but for INVERSES (3, time, batch). */
enum { INTO, GATES, JOINED, BEFORE, POSTED, ACTIVE, SEEN, LOGITS, SOFT, INVERSES };

static void forget_rows(int64_t rows, int64_t n, const uint8_t *forget, matrix x) {
    for (int64_t r = 0; r < rows; r++)
        if (forget[r]) memset(x.at + r * x.ld, 0, sizeof(float) * n);
}

/* All steps of the filter. parts: embed_part, action_part (time, batch, units), h (batch, hidden), z (batch, latent),
 * uniform (time, batch, groups). ld_input and ld_post are the rows of INPUT, of which only the columns of z are used,
 * and of POST, of which only those of h are. room: batch groups int32. */
void filter_forward(void *gemm, int64_t time, int64_t batch, int64_t units, int64_t hidden, int64_t groups,
                    int64_t classes, float unimix, float eps, uint8_t *forget, float **parts, int64_t ld_input,
                    int64_t ld_post, float **weights, float **kept, int32_t *room) {
    int64_t latent = groups * classes, wide = units + hidden, full = hidden + latent;
    matrix h = {parts[2], hidden}, z = {parts[3], latent};
    for (int64_t t = 0; t < time; t++, forget += batch) {
        int64_t row = t * batch;
        matrix into = {kept[INTO] + row * units, units}, gates = {kept[GATES] + row * 3 * hidden, 3 * hidden};
        matrix joined = {kept[JOINED] + row * wide, wide}, old = {joined.at + units, wide};
        matrix before = {kept[BEFORE] + row * latent, latent}, post = {kept[POSTED] + row * units, units};
        matrix active = {kept[ACTIVE] + row * units, units}, logits = {kept[LOGITS] + row * latent, latent};
        float *soft = kept[SOFT] + row * latent, *inverse = kept[INVERSES] + row;
        copy_rows(batch, latent, z, before);
        copy_rows(batch, hidden, h, old);
        forget_rows(batch, latent, forget, before);
        forget_rows(batch, hidden, forget, old);
        h = (matrix){kept[SEEN] + row * full, full}, z = (matrix){h.at + hidden, full};
        copy_rows(batch, units, (matrix){parts[1] + row * units, units}, into);
        multiply(gemm, batch, latent, units, before, (matrix){weights[INPUT], ld_input}, 1.0f, into);
        norm_silu_forward(batch, units, eps, into.at, weights[INPUT_SCALE], joined.at, wide, inverse);
        multiply(gemm, batch, wide, 3 * hidden, joined, (matrix){weights[CELL], wide}, 0.0f, gates);
        gru_forward(batch, hidden, eps, gates.at, weights[CELL_SCALE], old.at, wide, h.at, full,
                    inverse + time * batch);
        copy_rows(batch, units, (matrix){parts[0] + row * units, units}, post);
        multiply(gemm, batch, hidden, units, h, (matrix){weights[POST], ld_post}, 1.0f, post);
        norm_silu_forward(batch, units, eps, post.at, weights[POST_SCALE], active.at, units,
                          inverse + 2 * time * batch);
        affine(gemm, batch, units, latent, active, (matrix){weights[POST_OUT], units}, weights[POST_BIAS], logits);
        categorical_forward(batch, groups, classes, unimix, logits.at, parts[4] + row * groups, soft, z.at, full, room);
    }
}

static void add_rows_of(int64_t rows, int64_t n, matrix x, matrix to) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) to.at[r * to.ld + j] += x.at[r * x.ld + j];
}

/* From the gradients at seen and, in dlogits, at the logits: that at the logits with what comes through z, and those at
 * into, gates and post: outcome[0..2] (time, batch, ...); those at the scales of INPUT, CELL and POST are added to
 * outcome[3..5]. room: batch (3 hidden + latent + 2 units) floats. */
void filter_backward(void *gemm, int64_t time, int64_t batch, int64_t units, int64_t hidden, int64_t groups,
                     int64_t classes, float unimix, uint8_t *forget, float *dseen, float *dlogits, int64_t ld_input,
                     int64_t ld_post, float **weights, float **kept, float **outcome, float *room) {
    int64_t latent = groups * classes, wide = units + hidden, full = hidden + latent;
    matrix dh = {room, hidden}, dold = {dh.at + batch * hidden, hidden}, dz = {dold.at + batch * hidden, latent};
    matrix dout = {dz.at + batch * latent, units}, djoined = {dout.at + batch * units, wide};
    memset(dh.at, 0, sizeof(float) * batch * hidden);
    memset(dz.at, 0, sizeof(float) * batch * latent);
    for (int64_t t = time - 1; t >= 0; t--) {
        int64_t row = t * batch;
        float *inverse = kept[INVERSES] + row, *into = kept[INTO] + row * units;
        float *gates = kept[GATES] + row * 3 * hidden;
        float *old = kept[JOINED] + row * wide + units, *post = kept[POSTED] + row * units;
        matrix seen = {dseen + row * full, full}, logits = {dlogits + row * latent, latent};
        matrix dinto = {outcome[0] + row * units, units}, dgates = {outcome[1] + row * 3 * hidden, 3 * hidden};
        matrix dpost = {outcome[2] + row * units, units};
        add_rows_of(batch, hidden, seen, dh);
        add_rows_of(batch, latent, (matrix){seen.at + hidden, full}, dz);
        categorical_backward(batch, groups, classes, unimix, dz.at, latent, kept[SOFT] + row * latent, logits.at);
        multiply_back(gemm, batch, units, latent, logits, (matrix){weights[POST_OUT], units}, 0.0f, dout);
        norm_silu_backward(batch, units, dout.at, units, post, weights[POST_SCALE], inverse + 2 * time * batch,
                           dpost.at, outcome[5]);
        multiply_back(gemm, batch, hidden, units, dpost, (matrix){weights[POST], ld_post}, 1.0f, dh);
        gru_backward(batch, hidden, dh.at, gates, weights[CELL_SCALE], inverse + time * batch, old, wide, dgates.at,
                     dold.at, outcome[4]);
        multiply_back(gemm, batch, wide, 3 * hidden, dgates, (matrix){weights[CELL], wide}, 0.0f, djoined);
        norm_silu_backward(batch, units, djoined.at, wide, into, weights[INPUT_SCALE], inverse, dinto.at, outcome[3]);
        multiply_back(gemm, batch, latent, units, dinto, (matrix){weights[INPUT], ld_input}, 0.0f, dz);
        copy_rows(batch, hidden, dold, dh);
        add_rows_of(batch, hidden, (matrix){djoined.at + units, wide}, dh);
        forget_rows(batch, latent, forget + row, dz);
        forget_rows(batch, hidden, forget + row, dh);
    }
}
