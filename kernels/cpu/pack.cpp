// pack.cpp: folded weights -> a packed network.
//
// shapes   the arrays of legscore/model/folded.py, in their order: FP32, normalisation folded, A,G,C,T channels first
// layout   legnet.h (Product, Dense, Block); channels padded with zeros to panels of 32
// bytes    2 for each weight of a product, of a group and of a gate; 4 in the head
// numbers  bf16 and FP16 rounded to nearest even; weights below 2^-60 are zero, so that no product of a weight and an activation
//          is subnormal
// bound    memory: each weight is read twice, once to count and once to pack
// checks   sizes; weights beyond 2^20 (65,504 in FP16) or not finite; and a sum over what was packed against one over what was sent
// twin     legscore/model/graph.py: networks packed here score as its graph does, within the tolerance of bf16
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "legnet.h"
#include "numbers.h"

enum { REFUSED_SHAPE = 1, REFUSED_SIZES = 2, REFUSED_RANGE = 3, REFUSED_SUM = 4, REFUSED_MEMORY = 5 };
static const float S = -1.4426950408889634f;
static const size_t HUGE = (size_t)2 << 20;

// The next `bytes` of an allocation, at a multiple of 64; without memory it only counts. Under the address sanitizer a gap that may
// not be touched follows, so that leaving one buffer for the next is found.
void* legnet_take(char** memory, size_t* used, size_t bytes) {
    size_t whole = (bytes + 63) / 64 * 64;
    char* at = *memory ? *memory + *used : nullptr;
#if defined(__SANITIZE_ADDRESS__)
    whole += 4096;
    if (at) __asan_poison_memory_region(at + bytes, whole - bytes);
#endif
    *used += whole;
    return at;
}

namespace {
#include "shape.h"

struct Source {
    const float* const* arrays;
    const int64_t* sizes;
    int32_t count, next;
    int32_t error;
    uint64_t sum;

    const float* take(int64_t size) {
        if (next >= count || sizes[next] != size) {
            error = error ? error : REFUSED_SIZES;
            return nullptr;
        }
        return arrays[next++];
    }
    void most(float value, float limit) {
        if (!(value <= limit && value >= -limit)) error = error ? error : REFUSED_RANGE;
    }
    uint16_t bf16(float value) {
        most(value, 0x1p20f);
        return value < 0x1p-60f && value > -0x1p-60f ? 0 : to_bf16(value);
    }
    uint16_t half(float value) {
        most(value, 65504.0f);
        return to_half(value);
    }
};

struct Packer {
    Network& net;
    Source source;
    uint64_t packed = 0;

    template <class T>
    T* take(size_t n) {
        return (T*)legnet_take(&net.memory, &net.used, n * sizeof(T));
    }

    // Outputs of a product and the place of each input: n_in inputs at `taps` taps from w [n_out][n_in][taps], row(i) is where
    // output i goes, and column(k) where input k does.
    template <class Row, class Column>
    void product(Product& to, int32_t columns, int32_t panels, int32_t n_out, int32_t n_in, int32_t taps, Row row, Column column) {
        to.columns = columns, to.steps = panels * taps;
        to.weights = take<uint16_t>((size_t)columns * to.steps * 1024);
        to.bias = take<float>((size_t)columns * 32);
        const float *w = source.take((int64_t)n_out * n_in * taps), *b = source.take(n_out);
        if (!net.memory || !w || !b) return;
        for (int32_t i = 0; i < n_out; i++) {
            const int32_t n = row(i), q = n / 32, h = n % 32 / 16, c = n % 16;
            source.most(b[i], 0x1p60f);
            to.bias[n] = b[i] * S;
            for (int32_t k = 0; k < n_in; k++) {
                const int32_t at = column(k), p = at / 32, r = at % 32 / 2, e = at % 2;
                for (int32_t t = 0; t < taps; t++) {
                    const uint16_t bits = source.bf16(w[((size_t)i * n_in + k) * taps + t]);
                    source.sum += bits;
                    const size_t step = (size_t)q * to.steps + (size_t)p * taps + t;
                    to.weights[((step * 2 + h) * 16 + r) * 32 + c * 2 + e] = bits;
                }
            }
        }
        for (size_t i = 0; i < (size_t)columns * to.steps * 1024; i++) packed += to.weights[i];
    }

    // A linear layer from w [n_out][n_in] (or, `turned`, [n_in][n_out]) with places for rows and inputs.
    template <class Row, class Column>
    void dense(Dense& to, int32_t outputs, int32_t inputs, int32_t n_out, int32_t n_in, bool single, bool turned, bool biased, Row row,
               Column column) {
        to.inputs = inputs, to.outputs = outputs;
        const size_t n = (size_t)inputs * outputs;
        to.half = single ? nullptr : take<uint16_t>(n);
        to.single = single ? take<float>(n) : nullptr;
        to.bias = biased ? take<float>((size_t)outputs) : nullptr;
        const float* w = source.take((int64_t)n_out * n_in);
        const float* b = biased ? source.take(n_out) : nullptr;
        if (!net.memory || !w || (biased && !b)) return;
        for (int32_t i = 0; i < n_out; i++) {
            if (biased) source.most(b[i], 0x1p60f), to.bias[row(i)] = b[i];
            for (int32_t k = 0; k < n_in; k++) {
                const float value = w[turned ? (size_t)k * n_out + i : (size_t)i * n_in + k];
                const size_t at = (size_t)column(k) * outputs + row(i);
                if (single)
                    source.most(value, 0x1p60f), to.single[at] = value, source.sum += bits_of(value);
                else
                    to.half[at] = source.half(value), source.sum += to.half[at];
            }
        }
        for (size_t i = 0; i < n; i++) packed += single ? bits_of(to.single[i]) : to.half[i];
    }

    void group(Block& block, int32_t inner) {
        const int32_t g = net.per_group, k = net.kernel;
        const size_t quad = (size_t)k * g * g * 32;
        block.taps = take<uint16_t>(block.quads * quad);
        block.taps_bias = take<uint16_t>((size_t)block.quads * g * 32);
        block.taps_reach = take<float>(block.quads);
        block.taps_bias_most = take<float>(block.quads);
        const float *w = source.take((int64_t)inner * g * k), *b = source.take(inner);
        if (!net.memory || !w || !b) return;
        for (int32_t c = 0; c < inner; c++) {
            const int32_t q = c / g / 32, lane = c / g % 32, out = c % g;
            const uint16_t bias = source.half(b[c] * S);
            block.taps_bias[((size_t)q * g + out) * 32 + lane] = bias;
            float reach = 0.0f, most = from_half(bias & 0x7fff);
            for (int32_t in = 0; in < g; in++)
                for (int32_t t = 0; t < k; t++) {
                    const uint16_t bits = source.half(w[((size_t)c * g + in) * k + t]);
                    source.sum += bits;
                    block.taps[q * quad + (((size_t)t * g + out) * g + in) * 32 + lane] = bits;
                    reach += from_half(bits & 0x7fff);
                }
            if (reach > block.taps_reach[q]) block.taps_reach[q] = reach;
            if (most > block.taps_bias_most[q]) block.taps_bias_most[q] = most;
        }
        for (size_t i = 0; i < block.quads * quad; i++) packed += block.taps[i];
    }

    void block(Block& b) {
        const int32_t g = net.per_group, inner_panels = b.quads * g, joined = net.join >= JOIN_X_FX;
        const auto plain = [](int32_t i) { return i; };
        const auto inner = [g](int32_t c) { return (c / g / 32 * g + c % g) * 32 + c / g % 32; };
        product(b.expand, inner_panels, b.panels, b.inner, b.width, 1, inner, plain);
        group(b, b.inner);
        const int32_t hidden = (b.hidden_width + 15) / 16 * 16, half = b.hidden_width / 2, rank = (b.rank + 15) / 16 * 16;
        if (net.gate != GATE_NONE) dense(b.squeeze, hidden, inner_panels * 32, b.hidden_width, b.inner, false, false, true, plain, inner);
        if (net.gate == GATE_BILINEAR) {
            dense(b.hidden, hidden, b.hidden_width, b.hidden_width, b.hidden_width, false, false, true, plain, plain);
            dense(b.left, rank, b.hidden_width, b.rank, b.hidden_width, false, true, false, plain, plain);
            dense(b.right, rank, b.hidden_width, b.rank, b.hidden_width, false, true, false, plain, plain);
            dense(b.joined, (half + 15) / 16 * 16, b.rank, half, b.rank, false, false, true, plain, plain);
        }
        const int32_t h = b.hidden_width, excited = net.gate == GATE_BILINEAR ? hidden + b.joined.outputs : h;
        const auto place = [h, hidden](int32_t k) { return k < h ? k : hidden + k - h; };
        if (net.gate != GATE_NONE)
            dense(b.excite, inner_panels * 32, excited, b.inner, net.gate == GATE_BILINEAR ? h + half : h, false, false, true, inner, place);
        product(b.project, b.panels, inner_panels, b.width, b.inner, 1, plain, inner);
        const int32_t w = b.width, p = b.panels;
        const auto either = [w, p](int32_t k) { return k < w ? k : p * 32 + k - w; };
        product(b.mix, b.next_panels, joined ? 2 * p : p, b.next, joined ? 2 * w : w, net.kernel, plain, either);
    }

    void all() {
        net.used = 0;
        source.next = 0;
        const auto plain = [](int32_t i) { return i; };
        const int32_t width = net.blocks[0].width, c = net.channels, k = net.stem_kernel;
        stem(width, c, k);
        for (int32_t i = 0; i < net.n_blocks; i++) block(net.blocks[i]);
        const int32_t last = net.last_width, logits = net.head == HEAD_SCALAR ? 2 * last : net.outputs;
        if (net.head_silu || net.head == HEAD_BASES)
            product(net.head_product, panels_of(logits), net.last_panels, logits, last, 1, plain, plain);
        else
            dense(net.head_dense, (logits + 15) / 16 * 16, last, logits, last, true, false, true, plain, plain);
        if (net.head == HEAD_SCALAR) {
            dense(net.head_hidden, (logits + 15) / 16 * 16, logits, logits, logits, true, false, true, plain, plain);
            dense(net.head_out, 16, logits, 1, logits, true, false, true, plain, plain);
        }
        if (!source.error && source.next != source.count) source.error = REFUSED_SIZES;
    }

    // The stem reads rows of 8 channels: a step is 4 taps of 8, and its weights carry the z domain's factor, as inputs do not.
    void stem(int32_t width, int32_t c, int32_t k) {
        Product& to = net.stem;
        to.columns = panels_of(width), to.steps = (k + 3) / 4;
        to.weights = take<uint16_t>((size_t)to.columns * to.steps * 1024);
        to.bias = take<float>((size_t)to.columns * 32);
        const float *w = source.take((int64_t)width * c * k), *b = source.take(width);
        if (!net.memory || !w || !b) return;
        for (int32_t i = 0; i < width; i++) {
            const int32_t q = i / 32, h = i % 32 / 16, n = i % 16;
            source.most(b[i], 0x1p60f);
            to.bias[i] = b[i] * S;
            for (int32_t j = 0; j < c; j++)
                for (int32_t t = 0; t < k; t++) {
                    const int32_t at = t * 8 + j, step = at / 32, r = at % 32 / 2, e = at % 2;
                    const uint16_t bits = source.bf16(w[((size_t)i * c + j) * k + t] * S);
                    source.sum += bits;
                    to.weights[((((size_t)q * to.steps + step) * 2 + h) * 16 + r) * 32 + n * 2 + e] = bits;
                }
        }
        for (size_t i = 0; i < (size_t)to.columns * to.steps * 1024; i++) packed += to.weights[i];
    }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void legnet_free(Network* net) {
    if (net) free(net->memory);
    free(net);
}

// A packed network, or null and why in *error. `arrays` [count] of `sizes` floats each.
extern "C" __attribute__((visibility("default"))) Network* legnet_pack(const int32_t* shape, int32_t n, const float* const* arrays,
                                                                       const int64_t* sizes, int32_t count, int32_t* error) {
    Network* net = (Network*)calloc(1, sizeof(Network));
    *error = net ? read_shape(*net, shape, n) ? 0 : REFUSED_SHAPE : REFUSED_MEMORY;
    if (*error) {
        free(net);
        return nullptr;
    }
    Packer sizing = {*net, {arrays, sizes, count, 0, 0, 0}};
    sizing.all();
    *error = sizing.source.error;
    if (!*error) {
        net->bytes = (net->used + HUGE - 1) / HUGE * HUGE;
        net->memory = (char*)aligned_alloc(HUGE, net->bytes);
        *error = net->memory ? 0 : REFUSED_MEMORY;
    }
    if (!*error) {
#if defined(__linux__)
        madvise(net->memory, net->bytes, MADV_HUGEPAGE);
#endif
        memset(net->memory, 0, net->bytes);
        Packer filling = {*net, {arrays, sizes, count, 0, 0, 0}};
        filling.all();
        *error = filling.source.error ? filling.source.error : filling.packed == filling.source.sum ? 0 : REFUSED_SUM;
    }
    if (!*error) return net;
    legnet_free(net);
    return nullptr;
}

extern "C" __attribute__((visibility("default"))) int64_t legnet_bytes(const Network* net) { return (int64_t)net->used; }
