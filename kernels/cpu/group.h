// group.h: the grouped convolution of the inner channels, its SiLU, and the mean over the positions.
//
// shapes   from G panels FP16 [row][32] (a quad of channels) to G panels FP16; lane l of panel i is the i-th channel of group l
// layout   panels, as in legnet.h; weights FP16 bits [tap][panel out][panel in][32], bias FP16 bits [panel][32]
// order    bias, then taps outermost and panels in within, fused in FP16; means of up to 10 positions in FP16, then FP32
// bytes    reads and writes G panels, which stay in L1
// bound    FP16 multiply-adds: taps * G for 32 numbers
// range    the caller bounds |z| by the largest number read (taps_reach), so that no sum leaves FP16 unseen; means that are not
//          finite are found in squeeze.h
// twin     the same text over FP16 of double arithmetic (tests/data/emulated_amx.h); the convolution of legscore/model/graph.py

template <int G, int R>
INLINE void group_rows(const uint16_t* from, uint16_t* to, size_t panel, int32_t per_group, int32_t out, int32_t taps,
                       const uint16_t* weights, const uint16_t* bias, F* sums) {
    H z[G][R];
    UNROLL(2)
    for (int32_t j = 0; j < G; j++) {
        const H start = half_load(bias + (out + j) * 32);
        UNROLL(10)
        for (int32_t i = 0; i < R; i++) z[j][i] = start;
    }
    UNROLL(1)
    for (int32_t t = 0; t < taps; t++) {
        UNROLL(2)
        for (int32_t in = 0; in < (G > 1 ? G : per_group); in++) {
            const uint16_t* at = from + in * panel + t * 32;
            const uint16_t* w = weights + ((t * per_group + out) * per_group + in) * 32;
            H weight[G];
            UNROLL(2)
            for (int32_t j = 0; j < G; j++) weight[j] = half_load(w + j * per_group * 32);
            UNROLL(10)
            for (int32_t i = 0; i < R; i++) {
                const H x = half_load(at + i * 32);
                UNROLL(2)
                for (int32_t j = 0; j < G; j++) z[j][i] = half_fused(x, weight[j], z[j][i]);
            }
        }
    }
    UNROLL(2)
    for (int32_t j = 0; j < G; j++) {
        H sum = half_splat(0.0f);
        UNROLL(10)
        for (int32_t i = 0; i < R; i++) {
            const H y = half_silu(z[j][i]);
            put(to + j * panel + i * 32, half_bits(y));
            sum = half_sum(sum, y);
        }
        sums[2 * j] = sums[2 * j] + half_low(sum);
        sums[2 * j + 1] = sums[2 * j + 1] + half_high(sum);
    }
}

// G panels out of `per_group`, from panel `out` on, of one quad; means in the true domain into mean[strand][panel][32].
template <int G>
static NOINLINE void group_panels(const uint16_t* from, uint16_t* to, const Rows& rows, size_t panel, int32_t per_group, int32_t out,
                                  int32_t kernel, const uint16_t* weights, const uint16_t* bias, float* mean, size_t mean_stride) {
    const F share = splat(1.0f / (rows.length * MINUS_LOG2_E));
    for (int32_t s = 0; s < rows.strands; s++) {
        F sums[2 * G];
        for (int32_t j = 0; j < 2 * G; j++) sums[j] = splat(0.0f);
        const size_t first = (size_t)(rows.gap + s * rows.step);
        const uint16_t* in = from + (first - kernel / 2) * 32;
        uint16_t* at = to + first * 32;
        int32_t q = 0;
        for (; q + 10 <= rows.length; q += 10)
            group_rows<G, 10>(in + q * 32, at + q * 32, panel, per_group, out, kernel, weights, bias, sums);
        for (; q + 4 <= rows.length; q += 4)
            group_rows<G, 4>(in + q * 32, at + q * 32, panel, per_group, out, kernel, weights, bias, sums);
        for (; q < rows.length; q++)
            group_rows<G, 1>(in + q * 32, at + q * 32, panel, per_group, out, kernel, weights, bias, sums);
        for (int32_t j = 0; j < G; j++) {
            store(mean + s * mean_stride + j * 32, sums[2 * j] * share);
            store(mean + s * mean_stride + j * 32 + 16, sums[2 * j + 1] * share);
        }
    }
}

// One quad: all its panels.
static void group_quad(const Network& net, const Block& block, int32_t quad, const uint16_t* from, uint16_t* to, const Rows& rows,
                       float* mean, size_t mean_stride) {
    const int32_t g = net.per_group;
    const size_t panel = (size_t)rows.all * 32;
    const uint16_t* weights = block.taps + (size_t)quad * net.kernel * g * g * 32;
    const uint16_t* bias = block.taps_bias + (size_t)quad * g * 32;
    if (g == 2) {
        group_panels<2>(from, to, rows, panel, 2, 0, net.kernel, weights, bias, mean, mean_stride);
        return;
    }
    for (int32_t out = 0; out < g; out++)
        group_panels<1>(from, to + out * panel, rows, panel, g, out, net.kernel, weights, bias, mean + out * 32, mean_stride);
}
