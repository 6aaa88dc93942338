/* Whole chains of operations in one call: Python and its lock are met once instead of after every operation.
 *
 * Matrices are row-major, weights (outputs, inputs) as torch.nn.Linear keeps them; nothing but what a product lays out
 * is allocated here. dreamer/speed/fused.py holds the calls, and names the fields of what it hands over.
 */
#include "kernels.c"
#include "products.c"

enum { BLOCK = PERCEPTRON_ROWS }; /* rows that go through a perceptron together: they stay in the cache */

/* A perceptron. It sees `first` and `second` numbers side by side, from two places; the first are rounded in products
 * that round, the second unless they are `exact`, what its last layer sees is not. weights: matrix and scale of each
 * hidden layer, matrix and bias of the last; gradients: the same. sums, outs (layers, rows, units) and inverses
 * (layers, rows) keep what the way back needs, which leaves the gradients at the sums in their place. */
typedef struct {
    NET
} net_t;

/* `steps` steps of `rows` of the `total` rows of states (steps + 1, total, width), of which the first are given.
 * Tables of what the way back needs hold all steps, if it keeps them, or one. */
typedef struct {
    ROLLOUT
} rollout_t;

static const matrix NOTHING = {0, 0};

static matrix from_column(matrix x, int64_t column) { return (matrix){x.at + column, x.ld}; }

/* y (rows, outputs) = keep * y + [one (rows, first), two (rows, second)] w^T */
static void multiply(const products *use, int64_t rows, int64_t outputs, int64_t first, matrix one, int64_t second,
                     matrix two, int64_t exact, matrix w, float keep, matrix y) {
    if (second && !use->rounds && two.at == one.at + first && two.ld == one.ld) first += second, second = 0;
    terms parts[] = {{first, 0, one, w}, {second, exact, two, from_column(w, first)}};
    product(use, "NT", rows, outputs, parts, keep, y.at, y.ld);
}

/* dx (rows, inputs) = keep * dx + dy (rows, outputs) w */
static void multiply_back(const products *use, int64_t exact, int64_t rows, int64_t inputs, int64_t outputs, matrix dy,
                          matrix w, float keep, matrix dx) {
    terms parts[] = {{exact ? 0 : outputs, 0, dy, w}, {exact ? outputs : 0, 1, dy, w}};
    product(use, "NN", rows, inputs, parts, keep, dx.at, dx.ld);
}

/* dw (outputs, inputs) = keep * dw + dy^T (rows, outputs) x (rows, inputs) */
static void gradient(const products *use, int64_t exact, int64_t rows, int64_t inputs, int64_t outputs, matrix dy,
                     matrix x, float keep, matrix dw) {
    terms parts[] = {{exact ? 0 : rows, 0, dy, x}, {exact ? rows : 0, 1, dy, x}};
    product(use, "TN", outputs, inputs, parts, keep, dw.at, dw.ld);
}

static void copy_rows(int64_t rows, int64_t n, matrix from, matrix to) {
    for (int64_t r = 0; r < rows; r++) memcpy(to.at + r * to.ld, from.at + r * from.ld, sizeof(float) * n);
}

static void add_rows(int64_t rows, int64_t n, matrix x, matrix to) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) to.at[r * to.ld + j] += x.at[r * x.ld + j];
}

static float *take(float **room, int64_t floats) { return (*room += floats) - floats; }

/* result (rows, outputs) of what is seen, with what is kept in the tables' rows from `start` on */
static void net_forward(const products *use, const net_t *net, float eps, int64_t start, int64_t rows, matrix one,
                        matrix two, matrix result) {
    int64_t units = net->units, width = net->first + net->second;
    for (int64_t layer = 0; layer < net->layers; layer++, width = units) {
        int64_t row = layer * net->rows + start;
        matrix y = {net->sums + row * units, units}, out = {net->outs + row * units, units};
        matrix w = {net->weights[2 * layer], width};
        if (layer) multiply(use, rows, units, units, one, 0, NOTHING, 0, w, 0.0f, y);
        else multiply(use, rows, units, net->first, one, net->second, two, net->exact, w, 0.0f, y);
        norm_silu_forward(rows, units, eps, y.at, net->weights[2 * layer + 1], out.at, units, net->inverses + row);
        one = out;
    }
    float **last = net->weights + 2 * net->layers;
    copy_rows(rows, net->outputs, (matrix){last[1], 0}, result);
    multiply(use, rows, net->outputs, 0, NOTHING, units, one, 1, (matrix){last[0], units}, 1.0f, result);
}

/* From the gradient at the result: those at the sums of all layers, of the scales (added), and at what is seen, each
 * unless it is null: keep * done and dtwo. room: rows units floats. */
static void net_backward(const products *use, const net_t *net, int64_t start, int64_t rows, matrix dresult,
                         float *room, float keep, matrix done, matrix dtwo) {
    int64_t units = net->units;
    matrix dout = {room, units}, dy = dresult, w = {net->weights[2 * net->layers], units};
    for (int64_t layer = net->layers - 1; layer >= 0; layer--) {
        int64_t row = layer * net->rows + start, is_last = layer == net->layers - 1;
        multiply_back(use, is_last, rows, units, is_last ? net->outputs : units, dy, w, 0.0f, dout);
        dy = (matrix){net->sums + row * units, units};
        w = (matrix){net->weights[2 * layer], layer ? units : net->first + net->second};
        norm_silu_backward(rows, units, room, units, dy.at, net->weights[2 * layer + 1], net->inverses + row,
                           net->gradients[2 * layer + 1]);
    }
    if (done.at) multiply_back(use, 0, rows, net->first, units, dy, w, keep, done);
    if (dtwo.at) multiply_back(use, net->exact, rows, net->second, units, dy, from_column(w, net->first), 0.0f, dtwo);
}

/* After that: keep * the gradients of the matrices, and that of the bias (added). */
static void net_gradients(const products *use, const net_t *net, int64_t start, int64_t rows, matrix one, matrix two,
                          matrix dresult, float keep) {
    int64_t units = net->units, width = net->first + net->second;
    for (int64_t layer = 0; layer < net->layers; layer++, width = units) {
        int64_t row = layer * net->rows + start;
        matrix dy = {net->sums + row * units, units}, dw = {net->gradients[2 * layer], width};
        gradient(use, 0, rows, layer ? units : net->first, units, dy, one, keep, dw);
        if (!layer && net->second)
            gradient(use, net->exact, rows, net->second, units, dy, two, keep, from_column(dw, net->first));
        one = (matrix){net->outs + row * units, units};
    }
    float **last = net->gradients + 2 * net->layers;
    gradient(use, 1, rows, units, net->outputs, dresult, one, keep, (matrix){last[0], units});
    add_rows(rows, net->outputs, dresult, (matrix){last[1], 0});
}

/* result (rows, outputs) of x (rows, first + second); without keeps the tables are only room for one block. */
void perceptron_forward(const products *use, const net_t *net, float eps, int64_t rows, float *x, int64_t ld,
                        int64_t keeps, float *result) {
    for (int64_t start = 0; start < rows; start += BLOCK) {
        matrix seen = {x + start * ld, ld}, to = {result + start * net->outputs, net->outputs};
        net_forward(use, net, eps, keeps ? start : 0, least(BLOCK, rows - start), seen, from_column(seen, net->first), to);
    }
}

/* All gradients, and dx (rows, first + second) unless it is null. room: BLOCK units floats. */
void perceptron_backward(const products *use, const net_t *net, int64_t rows, float *x, int64_t ld, float *dresult,
                         float *room, float *dx) {
    int64_t width = net->first + net->second;
    for (int64_t start = 0; start < rows; start += BLOCK) {
        int64_t count = least(BLOCK, rows - start);
        matrix seen = {x + start * ld, ld}, given = {dresult + start * net->outputs, net->outputs};
        matrix done = dx ? (matrix){dx + start * width, width} : NOTHING;
        net_backward(use, net, start, count, given, room, 0.0f, done, dx ? from_column(done, net->first) : NOTHING);
        net_gradients(use, net, start, count, seen, from_column(seen, net->first), given, start ? 1.0f : 0.0f);
    }
}

/* What a step works on. */
typedef struct {
    int64_t at, place, latent, inputs, known, wide; /* rows of the tables before it, of the states; widths */
    matrix now, after, action, seen, facts, joined, residual, embeds, logits;
    float *into, *gates, *soft, *inverses;
} step_t;

static step_t step_of(const rollout_t *r, int64_t t) {
    int64_t at = r->keeps ? t * r->rows : 0, place = t * r->total, latent = r->groups * r->classes;
    int64_t known = r->observed + r->actions, inputs = latent + known, wide = r->units + r->hidden;
    matrix now = {r->states + place * r->width, r->width}, seen = {r->seen + at * inputs, inputs};
    return (step_t){
        .at = at, .place = place, .latent = latent, .inputs = inputs, .known = known, .wide = wide,
        .now = now, .after = {now.at + r->total * r->width, r->width}, .seen = seen, .facts = from_column(seen, latent),
        .action = {r->action + place * r->actions, r->actions}, .joined = {r->joined + at * wide, wide},
        .residual = {r->residual + at * r->observed, r->observed}, .embeds = {r->embeds + place * r->units, r->units},
        .logits = {r->logits + at * latent, latent}, .soft = r->soft + at * latent,
        .into = r->into + at * r->units, .gates = r->gates + at * 3 * r->hidden, .inverses = r->inverses + 2 * at,
    };
}

/* action = what the policy draws */
static void act(const products *use, const rollout_t *r, const net_t *policy, const step_t *s) {
    int64_t outputs = r->actions * r->values;
    float *room = r->room, *soft = take(&room, r->rows * outputs), *drawn = take(&room, r->rows * outputs);
    matrix logits = {room, outputs};
    net_forward(use, policy, r->epsilon, 0, r->rows, s->now, from_column(s->now, policy->first), logits);
    draw_forward(r->rows, r->actions, r->values, r->unimix, room, r->action_chance + s->place * r->actions, soft, drawn, outputs);
    for (int64_t i = 0; i < r->rows * r->actions; i++) {
        float sum = 0.0f;
        for (int64_t k = 0; k < r->values; k++) sum += drawn[i * r->values + k] * r->action_values[k];
        s->action.at[i] = sum;
    }
}

/* seen = [z, o, action], and h beside what comes of it; rows in which a round begins have forgotten all but o, which is
 * there already where it is given. */
static void look(const rollout_t *r, const step_t *s) {
    for (int64_t row = 0; row < r->rows; row++) {
        float *now = s->now.at + row * r->width, *seen = s->seen.at + row * s->inputs, *o = seen + s->latent;
        float *h = s->joined.at + row * s->wide + r->units, *action = s->action.at + row * r->actions;
        if (!r->embeds) memcpy(o, now + r->hidden + s->latent, sizeof(float) * r->observed);
        if (r->first && r->first[s->place + row]) {
            memset(seen, 0, sizeof(float) * s->latent);
            memset(o + r->observed, 0, sizeof(float) * r->actions);
            memset(h, 0, sizeof(float) * r->hidden);
            continue;
        }
        memcpy(seen, now + r->hidden, sizeof(float) * s->latent);
        memcpy(o + r->observed, action, sizeof(float) * r->actions);
        memcpy(h, now, sizeof(float) * r->hidden);
    }
}

static void step_forward(const products *use, const rollout_t *r, const net_t *nets, int64_t t) {
    const net_t *latent = nets, *predict = nets + 1, *policy = nets + 2;
    step_t s = step_of(r, t);
    int64_t rows = r->rows, hidden = r->hidden, units = r->units;
    if (policy->weights) act(use, r, policy, &s);
    look(r, &s);
    multiply(use, rows, units, s.latent, s.seen, s.known, s.facts, 1, (matrix){r->into_w, s.inputs}, 0.0f,
             (matrix){s.into, units});
    norm_silu_forward(rows, units, r->epsilon, s.into, r->into_scale, s.joined.at, s.wide, s.inverses);
    multiply(use, rows, 3 * hidden, s.wide, s.joined, 0, NOTHING, 0, (matrix){r->cell_w, s.wide}, 0.0f,
             (matrix){s.gates, 3 * hidden});
    gru_forward(rows, hidden, r->epsilon, s.gates, r->cell_scale, s.joined.at + units, s.wide, s.after.at, r->width,
                s.inverses + rows);
    net_forward(use, latent, r->epsilon, s.at, rows, s.after, s.embeds, s.logits);
    draw_forward(rows, r->groups, r->classes, r->unimix, s.logits.at, r->latent_chance + s.place * r->groups, s.soft,
                 s.after.at + hidden, r->width);
    if (!predict->weights) return;
    net_forward(use, predict, r->epsilon, s.at, rows, s.after, s.facts, s.residual);
    multiply(use, rows, r->observed, 0, NOTHING, s.known, s.facts, 1, (matrix){r->linear, s.known}, 1.0f, s.residual);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0; j < r->observed; j++)
            s.after.at[row * r->width + hidden + s.latent + j] =
                s.facts.at[row * s.inputs + j] + r->spread[j] * s.residual.at[row * r->observed + j];
}

void rollout_forward(const products *use, const rollout_t *r, const net_t *nets) {
    laid *weights = 0;
    products keeping = {use->sgemm, use->rounds, &weights};
    for (int64_t t = 0; t < r->steps; t++) step_forward(&keeping, r, nets, t);
    forget(weights);
}

/* From the gradient at the state after step t, which it completes, to that at the state before it. */
static void step_backward(const products *use, const rollout_t *r, const net_t *nets, int64_t t) {
    const net_t *latent = nets, *predict = nets + 1;
    step_t s = step_of(r, t);
    int64_t rows = r->rows, hidden = r->hidden, units = r->units, memory = hidden + s.latent, observed = r->observed;
    matrix dnow = {r->dstates + s.place * r->width, r->width}, dafter = {dnow.at + rows * r->width, r->width};
    float *room = r->room;
    matrix dseen = {take(&room, rows * s.inputs), s.inputs}, dfacts = from_column(dseen, s.latent);
    matrix dh = {take(&room, rows * hidden), hidden}, dboth = {take(&room, rows * s.wide), s.wide};
    if (predict->weights) {
        add_rows(rows, observed, from_column(dafter, memory), from_column(dnow, memory));
        for (int64_t i = 0; i < rows * observed; i++)
            s.residual.at[i] = dafter.at[i / observed * r->width + memory + i % observed] * r->spread[i % observed];
        net_backward(use, predict, s.at, rows, s.residual, room, 1.0f, dafter, dfacts);
        multiply_back(use, 1, rows, s.known, observed, s.residual, (matrix){r->linear, s.known}, 1.0f, dfacts);
        add_rows(rows, observed, dfacts, from_column(dnow, memory));
    }
    matrix dlogits = {r->dlogits + s.at * s.latent, s.latent}, dembeds = NOTHING;
    if (r->embeds) dembeds = (matrix){r->dembeds + s.at * units, units};
    draw_backward(rows, r->groups, r->classes, r->unimix, dafter.at + hidden, r->width, s.soft, dlogits.at);
    net_backward(use, latent, s.at, rows, dlogits, room, 1.0f, dafter, dembeds);
    gru_backward(rows, hidden, dafter.at, r->width, s.gates, r->cell_scale, s.inverses + rows, s.joined.at + units, s.wide,
                 room, dh.at, r->dcell_scale);
    multiply_back(use, 0, rows, s.wide, 3 * hidden, (matrix){s.gates, 3 * hidden}, (matrix){r->cell_w, s.wide}, 0.0f, dboth);
    norm_silu_backward(rows, units, dboth.at, s.wide, s.into, r->into_scale, s.inverses, r->dinto_scale);
    matrix dinto = {s.into, units}, into_w = {r->into_w, s.inputs};
    multiply_back(use, 0, rows, s.latent, units, dinto, into_w, 0.0f, dseen);
    if (predict->weights) multiply_back(use, 1, rows, observed, units, dinto, from_column(into_w, s.latent), 0.0f, dfacts);
    for (int64_t row = 0; row < rows; row++) {
        if (r->first && r->first[s.place + row]) continue;
        matrix to = {dnow.at + row * r->width, 0}, back = {dboth.at + row * s.wide + units, 0};
        add_rows(1, hidden, back, to);
        add_rows(1, hidden, (matrix){dh.at + row * hidden, 0}, to);
        add_rows(1, s.latent + (predict->weights ? observed : 0), (matrix){dseen.at + row * s.inputs, 0},
                 from_column(to, hidden));
    }
}

/* From the gradients at all states and logits: those at the first states, at the embeddings, and of the weights. */
void rollout_backward(const products *use, const rollout_t *r, const net_t *nets) {
    const net_t *latent = nets, *predict = nets + 1;
    laid *weights = 0;
    products keeping = {use->sgemm, use->rounds, &weights};
    for (int64_t t = r->steps - 1; t >= 0; t--) step_backward(&keeping, r, nets, t);
    forget(weights);
    step_t s = step_of(r, 0);
    int64_t all = r->steps * r->rows;
    matrix dinto = {s.into, r->units}, dinto_w = {r->dinto_w, s.inputs};
    gradient(use, 0, all, s.wide, 3 * r->hidden, (matrix){s.gates, 3 * r->hidden}, s.joined, 0.0f,
             (matrix){r->dcell_w, s.wide});
    gradient(use, 0, all, s.latent, r->units, dinto, s.seen, 0.0f, dinto_w);
    gradient(use, 1, all, s.known, r->units, dinto, s.facts, 0.0f, from_column(dinto_w, s.latent));
    net_gradients(use, latent, 0, all, s.after, s.embeds, (matrix){r->dlogits, s.latent}, 0.0f);
    if (!predict->weights) return;
    net_gradients(use, predict, 0, all, s.after, s.facts, s.residual, 0.0f);
    gradient(use, 1, all, s.known, r->observed, s.residual, s.facts, 0.0f, (matrix){r->dlinear, s.known});
}
