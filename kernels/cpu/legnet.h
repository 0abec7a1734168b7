// legnet.h: what a packed LegNet is: its layout in memory, the buffers of a thread, and what each form has to offer.
//
// layout: a network runs on units of up to MOST_STRANDS strands, stacked in one sequence of rows with `gap` zero rows before each strand
// and after the last. Activations lie in panels of 32 channels, [panel][row][32], 64 bytes a row: a convolution's tap is a shift
// by one row, and 16 rows of a panel are one tile. "z domain": convolutions yield z = -log2(e) x, and what is stored is
// -log2(e) SiLU(x), so that the SiLU needs no multiplication; weights are as they were, biases carry the factor.
//
// shapes   strands of 8-600 positions -> a score each, or a generator's probabilities [4][length]
// forms    portable C++ (any CPU), AVX-512 (F, BW, DQ, VL), AMX (tiles, with AVX512-FP16 and AVX512-BF16); all give the same bits
// bytes    3.7 MB of packed weights for the original network; a thread holds the panels of its widest block, twice, and those of
//          the inner channels
// bound    tile products (driver.h)
// twin     legscore/model/graph.py (the rewritten form, FP32), within the tolerance of bf16
#ifndef LEGNET_H
#define LEGNET_H
#include <stddef.h>
#include <stdint.h>

enum { LEGNET_ABI = 2, MOST_BLOCKS = 64, MOST_STRANDS = 8, MOST_PER_GROUP = 16, STAGES = 9 };
enum { FORM_PORTABLE = 0, FORM_AVX512 = 1, FORM_AMX = 2, FORMS = 3 };
enum { JOIN_NONE = 0, JOIN_ADD = 1, JOIN_X_FX = 2, JOIN_FX_X = 3 };
enum { GATE_NONE = 0, GATE_PLAIN = 1, GATE_BILINEAR = 2 };
enum { HEAD_BINS = 0, HEAD_SCALAR = 1, HEAD_BASES = 2 };
enum { STAGE_ENCODE, STAGE_STEM, STAGE_EXPAND, STAGE_GROUP, STAGE_SQUEEZE, STAGE_GATE, STAGE_PROJECT, STAGE_MIX, STAGE_HEAD };

// A convolution as products of tiles: weights bf16 [panel of 32 outputs][step][2 halves][16 pairs][16 outputs][2], bias FP32 in
// the z domain. A step is 32 inputs at one tap.
struct Product {
    int32_t columns, steps;
    uint16_t* weights;
    float* bias;
};

// A linear layer: weights [inputs][outputs] as FP16 bits or, in the head, FP32; outputs padded to 16.
struct Dense {
    int32_t inputs, outputs;
    uint16_t* half;
    float* single;
    float* bias;
};

// One block. Inner channels lie in `quads` of per_group panels: lane l of panel i of quad q is channel (32 q + l) per_group + i.
struct Block {
    int32_t length, pool, width, next, inner;  // positions; channels as the checkpoint has them
    int32_t panels, next_panels, quads;
    Product expand, project, mix;
    uint16_t* taps;         // FP16 bits [quad][tap][panel out][panel in][32]
    uint16_t* taps_bias;    // FP16 bits [quad][panel][32]
    float* taps_reach;      // [quad]: the largest sum of |weights| of a channel
    float* taps_bias_most;  // [quad]
    Dense squeeze, hidden, left, right, joined, excite;
    int32_t hidden_width, rank;
};

struct Network {
    int32_t length, n_blocks, channels, stem_kernel, kernel, per_group, join, gate, head, outputs, head_silu, unknown_quarter;
    int32_t gap, unit, reverse_channel, singleton_channel;
    Product stem, head_product;
    Dense head_dense, head_hidden, head_out;
    Block blocks[MOST_BLOCKS];
    int32_t last_length, last_width, last_panels;
    char* memory;
    size_t bytes, used;
};

// One strand to score: a window's codes with at most one base replaced (offset < 0: none), forwards or as reverse complement; or, of a
// generator, its input itself [channels][length], where `values` is not null.
struct Strand {
    const uint8_t* codes;
    int32_t offset;
    uint8_t base, reverse;
    const float* values;
};

// Buffers of one thread.
struct Work {
    int32_t rows;  // of a panel, at the first block's geometry
    uint16_t *input, *x[2], *spread, *inner, *gated;
    float *scratch, *mean, *gate, *dense[4], *logits;
    size_t mean_stride, dense_stride, logits_stride;
    const char *ahead, *ahead_end;
    uint64_t ticks[STAGES];
    char* memory;
    size_t bytes, used;
};

// Rows of a unit at a block's geometry.
struct Rows {
    int32_t strands, length, step, gap, computed, all;  // computed: a multiple of 32
};

// Runs `count` strands of a unit. Returns 1, or 0 where an activation left the range of the formats (scores are then void).
// depth < 0: the whole network, scores into out [count], or a generator's probabilities into out [count][4][length]; else blocks
// before `depth` only, and `activations` receives the bf16 panels [panels][length][32] of the first strand.
typedef int32_t (*RunUnit)(const Network*, Work*, const Strand*, int32_t count, int32_t singleton, float* out, int32_t depth,
                           uint16_t* activations);

extern "C" {
#define LEGNET_HIDDEN __attribute__((visibility("hidden")))
LEGNET_HIDDEN int32_t legnet_unit_portable(const Network*, Work*, const Strand*, int32_t, int32_t, float*, int32_t, uint16_t*);
LEGNET_HIDDEN int32_t legnet_unit_avx512(const Network*, Work*, const Strand*, int32_t, int32_t, float*, int32_t, uint16_t*);
LEGNET_HIDDEN int32_t legnet_unit_amx(const Network*, Work*, const Strand*, int32_t, int32_t, float*, int32_t, uint16_t*);
LEGNET_HIDDEN double legnet_rate_portable(double seconds);
LEGNET_HIDDEN double legnet_rate_avx512(double seconds);
LEGNET_HIDDEN double legnet_rate_amx(double seconds);
LEGNET_HIDDEN void* legnet_take(char** memory, size_t* used, size_t bytes);
}

static inline int32_t panels_of(int32_t channels) { return (channels + 31) / 32; }
#endif
