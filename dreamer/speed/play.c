/* One step of play for a batch of rounds, each row by itself: a row's bits do not depend on the rows beside it.
 *
 * Every sum runs in one order that is written down here, and is compiled without contraction of products and sums and
 * without reassociation: vector code of any width gives the bits of scalar code. `Dreamer.act` says what it computes;
 * play.py packs the weights in the order in which they are read here, matrices as (inputs, outputs).
 */
#include "scalars.h"

enum {
    ROWS = PLAY_ROWS, /* that go through all layers together: each weight is read from memory once for all of them */
    LANES = 16,       /* partial sums of a row, of the width of the widest vectors */
    AT_ONCE = 4       /* inputs of a product that are added in one pass over its outputs */
};

/* The fields and their order come from play.py, where they are told. */
typedef struct {
    int64_t SIZES;
} sizes_t;

typedef struct {
    float NUMBERS;
} numbers_t;

/* What a batch brings and gets, each (rows, ...); noise is null in deterministic play, o where there is none. next_o
 * gets the normalised observation and the clocks, also where it is no part of the state. */
typedef struct {
    const uint8_t *is_first;
    const float *GIVEN;
    float *TAKEN;
} batch_t;

typedef struct {
    const sizes_t *sizes;
    const numbers_t *numbers;
    const float *weights; /* the next that are to be read */
    int64_t rows, width;  /* of the tables; width is the distance between two rows, too */
    float *one, *two, *kept;
} step_t;

static inline float fused(float a, float b, float c) {
#ifdef FP_FAST_FMAF
    return fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

static inline float half_tanh(float x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

static float sum_of_squares(int64_t n, const float *x) {
    float lane[LANES] = {0.0f};
    for (int64_t j = 0; j < n; j++) lane[j % LANES] = fused(x[j], x[j], lane[j % LANES]);
    for (int64_t half = LANES / 2; half; half /= 2)
        for (int64_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

/* y[j] += x[0] w[0][j] + ... in the order of the inputs, for the AT_ONCE inputs from w on */
static inline void add_inputs(int64_t n, const float *restrict x, const float *restrict w, float *restrict y) {
    const float *restrict v = w + n, *restrict s = v + n, *restrict t = s + n;
    for (int64_t j = 0; j < n; j++)
        y[j] = fused(x[3], t[j], fused(x[2], s[j], fused(x[1], v[j], fused(x[0], w[j], y[j]))));
}

static inline void add_input(int64_t n, float x, const float *restrict w, float *restrict y) {
    for (int64_t j = 0; j < n; j++) y[j] = fused(x, w[j], y[j]);
}

/* to (rows, outputs) = from (rows, inputs) w; takes the weights */
static void multiply(step_t *step, int64_t inputs, int64_t outputs, const float *from, float *to) {
    const float *w = step->weights;
    int64_t k = 0;
    for (int64_t r = 0; r < step->rows; r++) memset(to + r * step->width, 0, sizeof(float) * outputs);
    for (; k + AT_ONCE <= inputs; k += AT_ONCE, w += AT_ONCE * outputs)
        for (int64_t r = 0; r < step->rows; r++)
            add_inputs(outputs, from + r * step->width + k, w, to + r * step->width);
    for (; k < inputs; k++, w += outputs)
        for (int64_t r = 0; r < step->rows; r++)
            add_input(outputs, from[r * step->width + k], w, to + r * step->width);
    step->weights = w;
}

/* Add the bias; takes the weights */
static void add_bias(step_t *step, int64_t n, float *x) {
    for (int64_t r = 0; r < step->rows; r++)
        for (int64_t j = 0; j < n; j++) x[r * step->width + j] += step->weights[j];
    step->weights += n;
}

/* x = x / rms(x) * scale, or plus bias where there is no norm; takes the weights */
static void normalize(step_t *step, int64_t n, float *x) {
    if (!step->sizes->groups) {
        add_bias(step, n, x);
        return;
    }
    for (int64_t r = 0; r < step->rows; r++) {
        float *y = x + r * step->width;
        float inverse = 1.0f / sqrtf(sum_of_squares(n, y) / (float)n + step->numbers->epsilon);
        for (int64_t j = 0; j < n; j++) y[j] = y[j] * inverse * step->weights[j];
    }
    step->weights += n;
}

static void activate(step_t *step, int64_t n, float *x) {
    for (int64_t r = 0; r < step->rows; r++) {
        float *y = x + r * step->width;
        if (step->sizes->groups)
            for (int64_t j = 0; j < n; j++) y[j] *= sigmoid(y[j]);
        else /* elu */
            for (int64_t j = 0; j < n; j++) y[j] = y[j] > 0.0f ? y[j] : expm1f(y[j]);
    }
}

static void hidden_layer(step_t *step, int64_t inputs, int64_t outputs, const float *from, float *to) {
    multiply(step, inputs, outputs, from, to);
    normalize(step, outputs, to);
    activate(step, outputs, to);
}

/* layers hidden layers of units, and a last one to outputs: from `from` to step->one; step->two is used as well */
static void perceptron(step_t *step, int64_t inputs, int64_t units, int64_t layers, int64_t outputs,
                       const float *from) {
    for (int64_t layer = 0; layer < layers; layer++, inputs = units) {
        hidden_layer(step, inputs, units, from, step->two);
        float *free = step->one;
        from = step->one = step->two, step->two = free;
    }
    multiply(step, inputs, outputs, from, step->two);
    add_bias(step, outputs, step->two);
    float *free = step->one;
    step->one = step->two, step->two = free;
}

static inline int64_t seen(const sizes_t *s) { return s->observed ? s->observed : s->observations; }

/* next_o = the observations in units of their own spread, and the clocks; takes their mean and deviation */
static void look(step_t *step, const batch_t *batch) {
    const sizes_t *s = step->sizes;
    const float *mean = step->weights, *std = mean + s->observations;
    step->weights = std + s->observations;
    for (int64_t r = 0; r < step->rows; r++) {
        const float *obs = batch->obs + r * s->observations;
        float *o = batch->next_o + r * seen(s);
        for (int64_t j = 0; j < s->observations; j++) o[j] = s->groups ? (obs[j] - mean[j]) / std[j] : obs[j];
        for (int64_t j = s->observations; j < s->observed; j++)
            o[j] = batch->is_first[r] ? 0.0f : batch->o[r * s->observed + j] + step->numbers->tick;
    }
}

/* What was seen before, in row r; where a round begins, what is seen there. */
static const float *seen_before(const step_t *step, const batch_t *batch, int64_t r) {
    return (batch->is_first[r] ? batch->next_o : batch->o) + r * step->sizes->observed;
}

static inline float symlog(float x) { return copysignf(log1pf(fabsf(x)), x); }

/* step->one = the embedding of the observations and, where o is in the state, of how they changed; takes the spread */
static void encode(step_t *step, const batch_t *batch) {
    const sizes_t *s = step->sizes;
    const float *spread = step->weights;
    step->weights += s->observed;
    for (int64_t r = 0; r < step->rows; r++) {
        const float *o = batch->next_o + r * seen(s);
        float *row = step->one + r * step->width;
        for (int64_t j = 0; j < seen(s); j++) row[j] = symlog(o[j]);
        for (int64_t j = 0; j < s->observed; j++)
            row[s->observed + j] = symlog((o[j] - seen_before(step, batch, r)[j]) / spread[j]);
    }
    perceptron(step, seen(s) + s->observed, s->units, s->layers, s->units, step->one);
}

/* step->kept = [x, h], x = the input layer of [z, o, action]; rows that begin a round have forgotten all but o */
static void take_in(step_t *step, const batch_t *batch) {
    const sizes_t *s = step->sizes;
    for (int64_t r = 0; r < step->rows; r++) {
        float *row = step->one + r * step->width, *h = step->kept + r * step->width + s->units;
        if (s->observed) memcpy(row + s->latent, seen_before(step, batch, r), sizeof(float) * s->observed);
        if (batch->is_first[r]) {
            memset(row, 0, sizeof(float) * s->latent);
            memset(row + s->latent + s->observed, 0, sizeof(float) * s->actions);
            memset(h, 0, sizeof(float) * s->hidden);
            continue;
        }
        memcpy(row, batch->z + r * s->latent, sizeof(float) * s->latent);
        memcpy(row + s->latent + s->observed, batch->action + r * s->actions, sizeof(float) * s->actions);
        memcpy(h, batch->h + r * s->hidden, sizeof(float) * s->hidden);
    }
    hidden_layer(step, s->latent + s->observed + s->actions, s->units, step->one, step->two);
    for (int64_t r = 0; r < step->rows; r++)
        memcpy(step->kept + r * step->width, step->two + r * step->width, sizeof(float) * s->units);
}

/* next_h from step->kept = [x, h] */
static void remember(step_t *step, float *next_h) {
    int64_t n = step->sizes->hidden, units = step->sizes->units;
    multiply(step, units + n, 3 * n, step->kept, step->one);
    normalize(step, 3 * n, step->one);
    for (int64_t r = 0; r < step->rows; r++) {
        const float *restrict gates = step->one + r * step->width, *restrict h = step->kept + r * step->width + units;
        float *restrict next = next_h + r * n;
        for (int64_t j = 0; j < n; j++) {
            float candidate = half_tanh(sigmoid(gates[j]) * gates[n + j]);
            next[j] = h[j] + sigmoid(gates[2 * n + j] - 1.0f) * (candidate - h[j]);
        }
    }
}

/* The likeliest of c classes or, with a uniform number, one drawn by inversion. */
static int64_t choose(int64_t c, float unimix, const float *logits, const float *uniform) {
    int64_t best = 0;
    for (int64_t k = 1; k < c; k++) best = logits[k] > logits[best] ? k : best;
    if (!uniform) return best;
    float total = 0.0f, edge = 0.0f, floor = unimix / (float)c, share = 1.0f - unimix;
    for (int64_t k = 0; k < c; k++) total += exp_fast(logits[k] - logits[best]);
    for (int64_t k = 0; k < c - 1; k++) {
        edge += exp_fast(logits[k] - logits[best]) / total * share + floor;
        if (!(*uniform > edge)) return k;
    }
    return c - 1;
}

static int is_finite(int64_t n, const float *x) {
    for (int64_t j = 0; j < n; j++)
        if (!isfinite(x[j])) return 0;
    return 1;
}

static void draw_latent(const sizes_t *s, const numbers_t *numbers, const float *stats, const float *noise, float *z) {
    if (s->groups) {
        memset(z, 0, sizeof(float) * s->latent);
        for (int64_t g = 0; g < s->groups; g++)
            z[g * s->classes + choose(s->classes, numbers->unimix, stats + g * s->classes, noise ? noise + g : 0)] = 1;
        return;
    }
    for (int64_t j = 0; j < s->latent; j++) {
        float x = stats[s->latent + j], softplus = x > 20.0f ? x : log1pf(expf(x));
        z[j] = noise ? stats[j] + (softplus + numbers->latent_min_std) * noise[j] : stats[j];
    }
}

static void draw_action(const sizes_t *s, const numbers_t *numbers, const float *values, const float *output,
                        const float *noise, float *action) {
    for (int64_t a = 0; a < s->actions; a++) {
        if (s->values) {
            action[a] = values[choose(s->values, numbers->unimix, output + a * s->values, noise ? noise + a : 0)];
            continue;
        }
        float mean = 5.0f * tanhf(output[a] / 5.0f), open = 1.0f / (1.0f + expf(-(output[s->actions + a] + 2.0f)));
        float std = numbers->min_std + (numbers->max_std - numbers->min_std) * open;
        action[a] = tanhf(noise ? mean + std * noise[a] : mean);
    }
}

/* next_z from [h, embedding], and whether each row's choice is one: NaN has a likeliest class, too */
static void choose_latent(step_t *step, const batch_t *batch, int64_t noises, int *is_sound) {
    const sizes_t *s = step->sizes;
    int64_t stats = s->groups ? s->latent : 2 * s->latent;
    for (int64_t r = 0; r < step->rows; r++) {
        float *row = step->kept + r * step->width;
        memcpy(row, batch->next_h + r * s->hidden, sizeof(float) * s->hidden);
        memcpy(row + s->hidden, step->one + r * step->width, sizeof(float) * s->units);
    }
    perceptron(step, s->hidden + s->units, s->units, 1, stats, step->kept);
    for (int64_t r = 0; r < step->rows; r++) {
        const float *row = step->one + r * step->width;
        is_sound[r] = is_finite(stats, row);
        draw_latent(s, step->numbers, row, batch->noise ? batch->noise + r * noises : 0, batch->next_z + r * s->latent);
    }
}

static void choose_action(step_t *step, const batch_t *batch, int64_t noises, const int *is_sound) {
    const sizes_t *s = step->sizes;
    int64_t outputs = s->actions * (s->values ? s->values : 2), drawn = s->groups ? s->groups : s->latent;
    for (int64_t r = 0; r < step->rows; r++) {
        float *row = step->kept + r * step->width;
        memcpy(row, batch->next_h + r * s->hidden, sizeof(float) * s->hidden);
        memcpy(row + s->hidden, batch->next_z + r * s->latent, sizeof(float) * s->latent);
        memcpy(row + s->hidden + s->latent, batch->next_o + r * seen(s), sizeof(float) * s->observed);
    }
    perceptron(step, s->hidden + s->latent + s->observed, s->units, s->layers, outputs, step->kept);
    for (int64_t r = 0; r < step->rows; r++) {
        const float *row = step->one + r * step->width, *noise = batch->noise;
        float *action = batch->next_action + r * s->actions;
        draw_action(s, step->numbers, step->weights, row, noise ? noise + r * noises + drawn : 0, action);
        if (!is_sound[r] || !is_finite(outputs, row))
            for (int64_t a = 0; a < s->actions; a++) action[a] = NAN;
    }
}

static void play_rows(step_t step, batch_t batch, int64_t noises) {
    int is_sound[ROWS];
    look(&step, &batch);
    take_in(&step, &batch);
    remember(&step, batch.next_h);
    encode(&step, &batch);
    choose_latent(&step, &batch, noises, is_sound);
    choose_action(&step, &batch, noises, is_sound);
}

/* A step of `rows` rounds. weights: the observations' mean and deviation, the weights of the input layer and the cell,
 * the spread of o if it is in the state, the encoder, the posterior, the policy, and the values of its actions. room: 3 ROWS width floats, where width is at least
 * that of the widest table. */
void play_step(int64_t rows, const sizes_t *sizes, const numbers_t *numbers, const float *weights,
               const batch_t *batch, int64_t noises, float *room, int64_t width) {
    for (int64_t start = 0; start < rows; start += ROWS) {
        int64_t count = rows - start < ROWS ? rows - start : ROWS;
        step_t step = {sizes, numbers, weights, count, width, room, room + ROWS * width, room + 2 * ROWS * width};
        batch_t part = *batch;
        part.h += start * sizes->hidden, part.z += start * sizes->latent, part.action += start * sizes->actions;
        part.obs += start * sizes->observations, part.next_o += start * seen(sizes), part.is_first += start;
        part.o += start * sizes->observed;
        if (part.noise) part.noise += start * noises;
        part.next_h += start * sizes->hidden, part.next_z += start * sizes->latent;
        part.next_action += start * sizes->actions;
        play_rows(step, part, noises);
    }
}
