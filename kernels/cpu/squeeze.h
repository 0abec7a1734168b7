// squeeze.h: squeeze-and-excitation: mean of each inner channel -> gate of each, all strands of a unit at once.
//
// shapes   mean, gate FP32 [strand][inner panels][32]; weights FP16 [inputs][outputs], sums FP32
// layout   inner channels in the order of the panels
// bilinear y = hidden(SiLU(squeeze(mean))); z = (y left) * (y right) joined; gate = sigmoid(excite(SiLU(y, z)))
// bytes    the weights, once a unit: 0.3 MB in the first block of the original network
// bound    the weights' way from L2; FP32 multiply-adds of `strands` numbers for each weight
// twin     legscore/model/forward.py

template <int W, bool SINGLE>
static NOINLINE void dense_strands(const float* in, size_t in_stride, const Dense& layer, float* out, size_t out_stride) {
    const int32_t n_out = layer.outputs;
    for (int32_t n = 0; n < n_out;) {
        const bool pair = n + 32 <= n_out;
        F a[W], b[W];
        const F start_a = layer.bias ? load(layer.bias + n) : splat(0.0f);
        const F start_b = pair && layer.bias ? load(layer.bias + n + 16) : splat(0.0f);
        for (int32_t w = 0; w < W; w++) a[w] = start_a, b[w] = start_b;
        for (int32_t k = 0; k < layer.inputs; k++) {
            const size_t at = (size_t)k * n_out + n;
            const F u = SINGLE ? load(layer.single + at) : half_values(layer.half + at);
            F v = u;
            if (pair) v = SINGLE ? load(layer.single + at + 16) : half_values(layer.half + at + 16);
            UNROLL(8)
            for (int32_t w = 0; w < W; w++) {
                const F x = splat(in[w * in_stride + k]);
                a[w] = fused(x, u, a[w]);
                if (pair) b[w] = fused(x, v, b[w]);
            }
        }
        for (int32_t w = 0; w < W; w++) {
            store(out + w * out_stride + n, a[w]);
            if (pair) store(out + w * out_stride + n + 16, b[w]);
        }
        n += pair ? 32 : 16;
    }
}
template <bool SINGLE>
static void dense(const float* in, size_t in_stride, const Dense& layer, float* out, size_t out_stride, int32_t strands) {
    switch (strands) {
        case 1: return dense_strands<1, SINGLE>(in, in_stride, layer, out, out_stride);
        case 2: return dense_strands<2, SINGLE>(in, in_stride, layer, out, out_stride);
        case 3: return dense_strands<3, SINGLE>(in, in_stride, layer, out, out_stride);
        case 4: return dense_strands<4, SINGLE>(in, in_stride, layer, out, out_stride);
        case 5: return dense_strands<5, SINGLE>(in, in_stride, layer, out, out_stride);
        case 6: return dense_strands<6, SINGLE>(in, in_stride, layer, out, out_stride);
        case 7: return dense_strands<7, SINGLE>(in, in_stride, layer, out, out_stride);
        default: return dense_strands<8, SINGLE>(in, in_stride, layer, out, out_stride);
    }
}
static void true_silu(float* x, size_t stride, int32_t n, int32_t strands) {
    for (int32_t w = 0; w < strands; w++)
        for (int32_t i = 0; i < n; i += 16) {
            const F v = load(x + w * stride + i);
            store(x + w * stride + i, v * sigmoid(v));
        }
}
static bool all_finite(const float* x, size_t stride, int32_t n, int32_t strands) {
    uint32_t most = 0;
    for (int32_t w = 0; w < strands; w++)
        for (int32_t i = 0; i < n; i++) {
            const uint32_t size = bits_of(x[w * stride + i]) & 0x7fffffffu;
            most = size > most ? size : most;
        }
    return most < 0x7f800000u;
}

// False where a mean or a gate is not finite.
static bool squeeze(const Network& net, const Block& block, Work& work, int32_t strands) {
    const int32_t inner = block.quads * net.per_group * 32;
    const size_t ms = work.mean_stride, ds = work.dense_stride;
    if (!all_finite(work.mean, ms, inner, strands)) return false;
    if (net.gate == GATE_NONE) {
        for (int32_t w = 0; w < strands; w++)
            for (int32_t i = 0; i < inner; i += 16) store(work.gate + w * ms + i, splat(1.0f));
        return true;
    }
    float *y = work.dense[0], *first = work.dense[1], *left = work.dense[2], *right = work.dense[3];
    const int32_t hidden = block.squeeze.outputs;
    if (net.gate == GATE_PLAIN) {
        dense<false>(work.mean, ms, block.squeeze, y, ds, strands);
        true_silu(y, ds, hidden, strands);
    } else {
        dense<false>(work.mean, ms, block.squeeze, first, ds, strands);
        true_silu(first, ds, hidden, strands);
        dense<false>(first, ds, block.hidden, y, ds, strands);
        dense<false>(y, ds, block.left, left, ds, strands);
        dense<false>(y, ds, block.right, right, ds, strands);
        for (int32_t w = 0; w < strands; w++)
            for (int32_t i = 0; i < block.left.outputs; i += 16)
                store(left + w * ds + i, load(left + w * ds + i) * load(right + w * ds + i));
        dense<false>(left, ds, block.joined, y + hidden, ds, strands);
        true_silu(y, ds, hidden + block.joined.outputs, strands);
    }
    dense<false>(y, ds, block.excite, work.gate, ms, strands);
    if (!all_finite(work.gate, ms, inner, strands)) return false;
    for (int32_t w = 0; w < strands; w++)
        for (int32_t i = 0; i < inner; i += 16) store(work.gate + w * ms + i, sigmoid(load(work.gate + w * ms + i)));
    return true;
}
