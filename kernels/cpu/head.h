// head.h: the head: logits of each strand, and the score.
//
// shapes   from the last block's panels; out [strands], or [strands][4][length] of a generator
// layout   panels, and weights of linear layers, as in legnet.h
// silu     with a final activation the 1 x 1 convolution runs as tiles over all rows, then SiLU, then the mean over positions
// mean     without one the mean comes first (the same, up to rounding), and the convolution is a linear layer in FP32
// bins     softmax and expectation in double with an exponential of its own, since those of libraries differ in their last bits
// scalar   linear, SiLU, linear in FP32; normalisation is folded into both
// bases    of a generator: the 1 x 1 convolution as tiles over all rows, [SiLU], softmax of the four bases at each position
// bytes    reads the last block's panels once: 64 bytes a row of each
// bound    memory in L2; with a final SiLU the tiles
// twin     legscore/model/forward.py

static double exponential(double x) {  // e^x, x <= 0; relative error 1e-15
    if (x < -700.0) return 0.0;
    const double scaled = x * 1.4426950408889634074;
    const int64_t whole = (int64_t)(scaled - 0.5);
    const double r = x - (double)whole * 6.93147180369123816490e-01 - (double)whole * 1.90821492927058770002e-10;
    double sum = 1.0, term = 1.0;
    for (int32_t i = 1; i < 14; i++) {
        term = term * r / i;
        sum = sum + term;
    }
    const uint64_t bits = (uint64_t)(whole + 1023) << 52;
    double power;
    memcpy(&power, &bits, 8);
    return sum * power;
}
static float expectation(const float* logits, int32_t n) {
    float most = logits[0];
    for (int32_t i = 1; i < n; i++) most = logits[i] > most ? logits[i] : most;
    double above = 0.0, below = 0.0;
    for (int32_t i = 0; i < n; i++) {
        const double weight = exponential((double)logits[i] - (double)most);
        above = above + weight * i;
        below = below + weight;
    }
    return (float)(above / below);
}
static void mean_rows(const uint16_t* x, const Rows& rows, int32_t panels, float* mean, size_t stride) {
    const F share = splat(1.0f / (rows.length * MINUS_LOG2_E));
    for (int32_t s = 0; s < rows.strands; s++)
        for (int32_t p = 0; p < panels; p++) {
            const uint16_t* at = x + ((size_t)p * rows.all + rows.gap + s * rows.step) * 32;
            F low = splat(0.0f), high = splat(0.0f);
            for (int32_t i = 0; i < rows.length; i++) {
                low = low + bf16_values(at + i * 32);
                high = high + bf16_values(at + i * 32 + 16);
            }
            store(mean + s * stride + p * 32, low * share);
            store(mean + s * stride + p * 32 + 16, high * share);
        }
}
static void activated_means(const Network& net, Work& work, const uint16_t* x, const Rows& rows) {
    const size_t panel = (size_t)rows.all * 32;
    const F share = splat(1.0f / (rows.length * MINUS_LOG2_E));
    for (int32_t q = 0; q < net.head_product.columns; q++) {
        const uint16_t* weights = net.head_product.weights + (size_t)q * net.head_product.steps * 1024;
        F sums[MOST_STRANDS][2];
        for (int32_t s = 0; s < rows.strands; s++) sums[s][0] = sums[s][1] = splat(0.0f);
        for (int32_t m = 0; m < rows.computed; m += 32) {
            tile_sums<32>(work, x + (size_t)(rows.gap + m) * 32, panel, net.head_product.steps, weights, net.head_product.bias + q * 32);
            for (int32_t r = 0; r < 32; r++) {
                const int32_t s = (m + r) / rows.step;
                if (s >= rows.strands || (m + r) % rows.step >= rows.length) continue;
                sums[s][0] = sums[s][0] + silu(load(work.scratch + r * 32));
                sums[s][1] = sums[s][1] + silu(load(work.scratch + r * 32 + 16));
            }
        }
        for (int32_t s = 0; s < rows.strands; s++)
            for (int32_t h = 0; h < 2; h++) store(work.logits + s * work.logits_stride + q * 32 + h * 16, sums[s][h] * share);
    }
}
// The softmax over the first four of a row's sums, in the z domain; false where one is not finite.
static bool softmax_of_bases(const float* sums, float* out, int32_t length) {
    double weight[4], total = 0.0;
    float logits[4];
    for (int32_t b = 0; b < 4; b++) {
        logits[b] = sums[b] * (1.0f / MINUS_LOG2_E);
        if ((bits_of(logits[b]) & 0x7fffffffu) >= 0x7f800000u) return false;
    }
    float most = logits[0];
    for (int32_t b = 1; b < 4; b++) most = logits[b] > most ? logits[b] : most;
    for (int32_t b = 0; b < 4; b++) {
        weight[b] = exponential((double)logits[b] - (double)most);
        total = total + weight[b];
    }
    for (int32_t b = 0; b < 4; b++) out[(size_t)b * length] = (float)(weight[b] / total);
    return true;
}
static bool bases(const Network& net, Work& work, const uint16_t* x, const Rows& rows, float* out) {
    const Product& product = net.head_product;
    const size_t panel = (size_t)rows.all * 32;
    for (int32_t m = 0; m < rows.computed; m += 32) {
        tile_sums<32>(work, x + (size_t)(rows.gap + m) * 32, panel, product.steps, product.weights, product.bias);
        for (int32_t r = 0; r < 32; r++) {
            const int32_t s = (m + r) / rows.step, at = (m + r) % rows.step;
            if (s >= rows.strands || at >= rows.length) continue;
            float* sums = work.scratch + r * 32;
            if (net.head_silu) store(sums, silu(load(sums)));
            if (!softmax_of_bases(sums, out + (size_t)s * 4 * rows.length + at, rows.length)) return false;
        }
    }
    return true;
}
// False where a score is not finite.
static bool head(const Network& net, Work& work, const uint16_t* x, const Rows& rows, float* out) {
    const size_t stride = work.logits_stride;
    if (net.head == HEAD_BASES) return bases(net, work, x, rows, out);
    if (net.head_silu) {
        activated_means(net, work, x, rows);
    } else {
        mean_rows(x, rows, net.last_panels, work.mean, work.mean_stride);
        dense<true>(work.mean, work.mean_stride, net.head_dense, work.logits, stride, rows.strands);
    }
    const float* logits = work.logits;
    if (net.head == HEAD_SCALAR) {
        dense<true>(work.logits, stride, net.head_hidden, work.dense[0], work.dense_stride, rows.strands);
        true_silu(work.dense[0], work.dense_stride, net.head_hidden.outputs, rows.strands);
        dense<true>(work.dense[0], work.dense_stride, net.head_out, work.logits, stride, rows.strands);
    }
    if (!all_finite(logits, stride, net.head == HEAD_SCALAR ? 1 : net.outputs, rows.strands)) return false;
    for (int32_t s = 0; s < rows.strands; s++)
        out[s] = net.head == HEAD_SCALAR ? logits[s * stride] : expectation(logits + s * stride, net.outputs);
    return true;
}
