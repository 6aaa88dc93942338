/* Whole chains of operations in one call: Python and its lock are met once instead of after every operation.
 *
 * Products are torch's own sgemm (Fortran's interface, handed over as a pointer) or those of half.c, the rest the row kernels. Matrices
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

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

#include "half.c"

/* The product to use for the first `rounded` inputs of a layer, and the exact one for what follows them. */
typedef struct {
    gemm_t fast, exact;
} products;

static void gemm_columns(gemm_t gemm, const char *kinds, int64_t m, int64_t n, int64_t k, matrix a, matrix b,
                         float keep, matrix c) {
    float one = 1.0f;
    if (n > 0 && m > 0) gemm(kinds, kinds + 1, &m, &n, &k, &one, a.at, &a.ld, b.at, &b.ld, &keep, c.at, &c.ld);
}

static matrix from_column(matrix x, int64_t column) { return (matrix){x.at + column, x.ld}; }

/* y (rows, outputs) = keep * y + x (rows, inputs) w^T */
static void multiply(const products *use, int64_t rounded, int64_t rows, int64_t inputs, int64_t outputs, matrix x,
                     matrix w, float keep, matrix y) {
    if (rounded) gemm_columns(use->fast, "TN", outputs, rows, rounded, w, x, keep, y);
    if (rounded < inputs)
        gemm_columns(use->exact, "TN", outputs, rows, inputs - rounded, from_column(w, rounded),
                     from_column(x, rounded), rounded ? 1.0f : keep, y);
}

/* dx (rows, inputs) = dy (rows, outputs) w */
static void multiply_back(const products *use, int64_t rounded, int64_t rows, int64_t inputs, int64_t outputs,
                          matrix dy, matrix w, matrix dx) {
    gemm_columns(use->fast, "NN", rounded, rows, outputs, w, dy, 0.0f, dx);
    gemm_columns(use->exact, "NN", inputs - rounded, rows, outputs, from_column(w, rounded), dy, 0.0f,
                 from_column(dx, rounded));
}

/* dw (outputs, inputs) = keep * dw + dy^T (rows, outputs) x (rows, inputs) */
static void gradient(const products *use, int64_t rounded, int64_t rows, int64_t inputs, int64_t outputs, matrix dy,
                     matrix x, float keep, matrix dw) {
    gemm_columns(use->fast, "NT", rounded, outputs, rows, x, dy, keep, dw);
    gemm_columns(use->exact, "NT", inputs - rounded, outputs, rows, from_column(x, rounded), dy, keep,
                 from_column(dw, rounded));
}

static void copy_rows(int64_t rows, int64_t n, matrix from, matrix to) {
    for (int64_t r = 0; r < rows; r++) memcpy(to.at + r * to.ld, from.at + r * from.ld, sizeof(float) * n);
}

/* y (rows, outputs) = bias + x w^T */
static void affine(const products *use, int64_t rows, int64_t inputs, int64_t outputs, matrix x, matrix w, float *bias,
                   matrix y) {
    copy_rows(rows, outputs, (matrix){bias, 0}, y);
    multiply(use, 0, rows, inputs, outputs, x, w, 1.0f, y);
}

/* result (rows, outputs) of x (rows, inputs). weights: matrix and scale of each hidden layer, matrix and bias of the
 * last. sums, outs (depth, layer_rows, units) and inverses (depth, layer_rows) keep what the way back needs; with keep
 * 0 they are only room for one block. */
void perceptron_forward(const products *use, int64_t rounded, int64_t rows, int64_t depth, int64_t inputs, int64_t units, int64_t outputs,
                        float eps, float *x, int64_t ld_x, float **weights, float *sums, float *outs, float *inverses,
                        int64_t layer_rows, int64_t keep, float *result) {
    for (int64_t start = 0; start < rows; start += BLOCK) {
        int64_t count = least(BLOCK, rows - start), place = keep ? start : 0, width = inputs;
        matrix seen = {x + start * ld_x, ld_x};
        for (int64_t layer = 0; layer < depth; layer++, width = units) {
            int64_t row = layer * layer_rows + place;
            matrix y = {sums + row * units, units}, out = {outs + row * units, units};
            multiply(use, layer ? units : rounded, count, width, units, seen, (matrix){weights[2 * layer], width}, 0.0f, y);
            norm_silu_forward(count, units, eps, y.at, weights[2 * layer + 1], out.at, units, inverses + row);
            seen = out;
        }
        matrix done = {result + start * outputs, outputs}, last = {weights[2 * depth], units};
        affine(use, count, units, outputs, seen, last, weights[2 * depth + 1], done);
    }
}

/* The gradients of all weights (those of scales and bias are added), and dx (rows, inputs) unless it is null. room: 2 BLOCK units floats. */
void perceptron_backward(const products *use, int64_t rounded, int64_t rows, int64_t depth, int64_t inputs, int64_t units, int64_t outputs,
                         float *x, int64_t ld_x, float **weights, float **gradients, float *sums, float *outs,
                         float *inverses, int64_t layer_rows, float *dresult, float *room, float *dx) {
    matrix dout = {room, units}, dy = {room + BLOCK * units, units};
    for (int64_t start = 0; start < rows; start += BLOCK) {
        int64_t count = least(BLOCK, rows - start);
        float keep = start ? 1.0f : 0.0f;
        matrix given = {dresult + start * outputs, outputs}, last = {weights[2 * depth], units};
        matrix out = {outs + ((depth - 1) * layer_rows + start) * units, units};
        gradient(use, 0, count, units, outputs, given, out, keep, (matrix){gradients[2 * depth], units});
        float *dbias = gradients[2 * depth + 1];
        for (int64_t r = 0; r < count; r++)
            for (int64_t j = 0; j < outputs; j++) dbias[j] += given.at[r * outputs + j];
        multiply_back(use, 0, count, units, outputs, given, last, dout);
        for (int64_t layer = depth - 1; layer >= 0; layer--) {
            int64_t row = layer * layer_rows + start, width = layer ? units : inputs;
            matrix w = {weights[2 * layer], width};
            matrix seen = layer ? (matrix){outs + (row - layer_rows) * units, units} : (matrix){x + start * ld_x, ld_x};
            norm_silu_backward(count, units, dout.at, units, sums + row * units, weights[2 * layer + 1],
                               inverses + row, dy.at, gradients[2 * layer + 1]);
            gradient(use, layer ? units : rounded, count, width, units, dy, seen, keep, (matrix){gradients[2 * layer], width});
            if (layer)
                multiply_back(use, units, count, units, units, dy, w, dout);
            else if (dx)
                multiply_back(use, rounded, count, inputs, units, dy, w, (matrix){dx + start * inputs, inputs});
        }
    }
}

static void add_rows(int64_t rows, int64_t n, matrix x, matrix to) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) to.at[r * to.ld + j] += x.at[r * x.ld + j];
}

/* A step of the memory: next (rows, hidden) from x (rows, inputs), what the input layer sees, and h. weights: matrix and scale of the input layer, matrix and scale of the cell. into (rows, units), joined (rows, units + hidden),
 * gates (rows, 3 hidden) and inverses (2, rows) keep what the way back needs. */
void advance_forward(const products *use, int64_t rounded, int64_t rows, int64_t inputs, int64_t units, int64_t hidden, float eps, float *x,
                     float *h, int64_t ld_h, float **weights, float *into, float *joined, float *gates, float *inverses,
                     float *next, int64_t ld_next) {
    int64_t wide = units + hidden;
    matrix sums = {into, units}, both = {joined, wide}, open = {gates, 3 * hidden};
    multiply(use, rounded, rows, inputs, units, (matrix){x, inputs}, (matrix){weights[0], inputs}, 0.0f, sums);
    norm_silu_forward(rows, units, eps, into, weights[1], joined, wide, inverses);
    copy_rows(rows, hidden, (matrix){h, ld_h}, (matrix){joined + units, wide});
    multiply(use, wide, rows, wide, 3 * hidden, both, (matrix){weights[2], wide}, 0.0f, open);
    gru_forward(rows, hidden, eps, gates, weights[3], joined + units, wide, next, ld_next, inverses + rows);
}

/* From the gradient at the next h: those at x, h and the weights; of the scales they are added. room: rows (4 hidden + 2 units)
 * floats. */
void advance_backward(const products *use, int64_t rounded, int64_t rows, int64_t inputs, int64_t units, int64_t hidden, float *x,
                      float **weights, float **gradients, float *into, float *joined, float *gates, float *inverses,
                      float *dnext, float *room, float *dx, float *dh) {
    int64_t wide = units + hidden;
    matrix dopen = {room, 3 * hidden}, dboth = {dopen.at + rows * 3 * hidden, wide};
    matrix dsums = {dboth.at + rows * wide, units};
    gru_backward(rows, hidden, dnext, gates, weights[3], inverses + rows, joined + units, wide, dopen.at, dh,
                 gradients[3]);
    gradient(use, wide, rows, wide, 3 * hidden, dopen, (matrix){joined, wide}, 0.0f, (matrix){gradients[2], wide});
    multiply_back(use, wide, rows, wide, 3 * hidden, dopen, (matrix){weights[2], wide}, dboth);
    add_rows(rows, hidden, (matrix){dboth.at + units, wide}, (matrix){dh, hidden});
    norm_silu_backward(rows, units, dboth.at, wide, into, weights[1], inverses, dsums.at, gradients[1]);
    gradient(use, rounded, rows, inputs, units, dsums, (matrix){x, inputs}, 0.0f, (matrix){gradients[0], inputs});
    multiply_back(use, rounded, rows, inputs, units, dsums, (matrix){weights[0], inputs}, (matrix){dx, inputs});
}

typedef struct {
    int64_t SIZES;
} sizes_t; /* as in play.py */

static float *take(float **room, int64_t floats) { return (*room += floats) - floats; }

/* result (rows, outputs) of a perceptron with `depth` hidden layers; takes its weights */
static void pass(const products *use, const sizes_t *s, int64_t rows, int64_t rounded, int64_t depth, int64_t inputs,
                 int64_t outputs, float eps, matrix x, float ***weights, float *room, float *result) {
    float *sums = take(&room, depth * BLOCK * s->units), *outs = take(&room, depth * BLOCK * s->units);
    perceptron_forward(use, use->fast == use->exact ? inputs : rounded, rows, depth, inputs, s->units, outputs, eps,
                       x.at, x.ld, *weights, sums, outs, room, BLOCK, 0, result);
    *weights += 2 * depth + 2;
}

/* A step of the dream, for all rows: from the state [h, z, o] at `now` to the action and the state after it. weights:
 * those of the policy and its values, the memory, the prior and, with o, of its prediction: perceptron, matrix, spread. */
static void dream_step(const products *use, const sizes_t *s, int64_t rows, float eps, float unimix, float **weights,
                       const float *chance_of_action, const float *chance_of_z, float *now, float *action, float *after,
                       float *room) {
    int64_t latent = s->latent, memory = s->hidden + latent, width = memory + s->observed;
    int64_t outputs = s->actions * s->values, known = s->observed + s->actions, wide = s->units + s->hidden;
    float *logits = take(&room, rows * (outputs + latent + s->observed)), *soft = take(&room, rows * (outputs + latent));
    float *drawn = take(&room, rows * (outputs + latent)), *seen = take(&room, rows * (memory + known));

    pass(use, s, rows, memory, s->layers, width, outputs, eps, (matrix){now, width}, &weights, room, logits);
    draw_forward(rows, s->actions, s->values, unimix, logits, chance_of_action, soft, drawn);
    float *values = *weights++;
    for (int64_t i = 0; i < rows * s->actions; i++) {
        action[i] = 0.0f;
        for (int64_t k = 0; k < s->values; k++) action[i] += drawn[i * s->values + k] * values[k];
    }

    matrix led = {seen, latent + known}, acted = {action, s->actions};
    copy_rows(rows, latent + s->observed, (matrix){now + s->hidden, width}, led);
    copy_rows(rows, s->actions, acted, from_column(led, latent + s->observed));
    float *more = room, *into = take(&more, rows * s->units), *joined = take(&more, rows * wide);
    float *gates = take(&more, rows * 3 * s->hidden);
    advance_forward(use, use->fast == use->exact ? latent + known : latent, rows, latent + known, s->units, s->hidden,
                    eps, seen, now, width, weights, into, joined, gates, more, after, width);
    weights += 4;

    pass(use, s, rows, s->hidden, 1, s->hidden, latent, eps, (matrix){after, width}, &weights, room, logits);
    draw_forward(rows, s->groups, s->classes, unimix, logits, chance_of_z, soft, drawn);
    copy_rows(rows, latent, (matrix){drawn, latent}, (matrix){after + s->hidden, width});
    if (!s->observed) return;

    matrix all = {seen, memory + known}, facts = from_column(all, memory);
    copy_rows(rows, memory, (matrix){after, width}, all);
    copy_rows(rows, s->observed, (matrix){now + memory, width}, facts);
    copy_rows(rows, s->actions, acted, from_column(facts, s->observed));
    pass(use, s, rows, memory, s->layers, memory + known, s->observed, eps, all, &weights, room, logits);
    multiply(use, 0, rows, known, s->observed, facts, (matrix){weights[0], known}, 1.0f, (matrix){logits, s->observed});
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < s->observed; j++)
            after[r * width + memory + j] = facts.at[r * facts.ld + j] + weights[1][j] * logits[r * s->observed + j];
}

/* A dream: states (steps + 1, total, width), of which the first are given, and actions (steps, total, actions), for
 * `rows` of `total` rows; where they begin is handed over. The chances are uniform numbers (steps, total, ...). */
void dream(const products *use, int64_t rows, int64_t total, int64_t steps, const sizes_t *s, float eps, float unimix, float **weights, float *chance_of_action,
           float *chance_of_z, float *states, float *actions, float *room) {
    int64_t width = s->hidden + s->latent + s->observed;
    for (int64_t t = 0; t < steps; t++) {
        float *now = states + t * total * width;
        dream_step(use, s, rows, eps, unimix, weights, chance_of_action + t * total * s->actions,
                   chance_of_z + t * total * s->groups, now, actions + t * total * s->actions,
                   now + total * width, room);
    }
}
