// denoise.cu: what the mutate-denoise loop of a generator does between two passes of the network.
//
// A step is mark_sites, then for each pass of `rows` designs mutate_bases, the network, keep_bases. Designs `first`.. of a batch
// belong to a pass; rows beyond `count` are padding.
//
// shapes   seed_N uint64; hit_NL uint32 [designs, L]; bases_N4L FP32 [designs, 4, L], probabilities of A,G,C,T
//          target_N FP32; x FP32 [rows, 6, L]: bases, then the expression wanted, then the number of mutations told
//          out FP32 [rows, 4, L]: the network's probabilities
// layout   rows one after another, positions innermost
// launch   mark_sites: one thread for each design and mutation; mutate_bases: for each row of the pass and position;
//          keep_bases: for each design of the pass and position; blocks of 256
// bytes    mark_sites writes 4 for each mutation; mutate_bases reads 20 and writes 24 for each position; keep_bases reads and
//          writes 16
// bound    arithmetic of the random numbers (two SplitMix64 finalisers each), then memory; far below a pass of the network.
//          Elements of each array must be below 2^31 (the caller checks).
// twin     legscore/generate/draws.py (shuffles, drawn) and PERMUTATIONS: equal bit for bit
//
// Sites drawn twice in a step are marked twice with the same number, the step's, so that the order of threads does not matter and
// nothing is cleared between steps. No barriers, no shuffles: run one thread after another on a host, it gives the same bits.

typedef unsigned long long u64;

#define WEYL 0x9E3779B97F4A7C15ull
#define PLACES 1048576ull  // places that a step may use
#define DRAWN_FROM 524288u  // places from here on draw bases
#define GRAIN 16777216u     // drawn numbers have 24 bits, which FP32 holds exactly

__device__ __forceinline__ u64 mix(u64 x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

// A whole number 0..limit-1 for a place of a step.
__device__ __forceinline__ unsigned below(u64 seed, unsigned step, unsigned place, unsigned limit) {
    const u64 mixed = mix(mix(seed * WEYL + WEYL) ^ mix(((u64)place + step * PLACES) * WEYL));
    return (unsigned)((mixed >> 32) * limit >> 32);
}

extern "C" __global__ void mark_sites(const u64* seed_N, unsigned* hit_NL, unsigned designs, unsigned length, unsigned mutations,
                                      unsigned step) {
    const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= designs * mutations) return;
    const unsigned design = index / mutations, number = index - design * mutations;
    hit_NL[(size_t)design * length + below(seed_N[design], step, length + number, length)] = step;
}

extern "C" __global__ void mutate_bases(const float* bases_N4L, const u64* seed_N, const unsigned* hit_NL, const float* target_N,
                                        float* x, unsigned first, unsigned count, unsigned rows, unsigned length, unsigned step,
                                        unsigned told) {
    const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= rows * length) return;
    const unsigned row = index / length, at = index - row * length;
    float* to = x + (size_t)row * 6 * length + at;
    if (row >= count) {
        for (unsigned channel = 0; channel < 6; ++channel) to[(size_t)channel * length] = 0.0f;
        return;
    }
    const unsigned design = first + row;
    const float* from = bases_N4L + (size_t)design * 4 * length + at;
    const bool hit = hit_NL[(size_t)design * length + at] == step;
    unsigned order = hit ? below(seed_N[design], step, at, 24) : 0;  // of the sorted permutations of 0..3
    unsigned left = 0x3210, divisor = 6;                             // what is not taken yet, four bits each
    for (unsigned channel = 0; channel < 4; ++channel) {
        const unsigned place = 4 * (order / divisor), taken = (left >> place) & 15u;
        order %= divisor;
        divisor /= channel < 2 ? 3 - channel : 1;
        left = (left & ((1u << place) - 1u)) | ((left >> 4) & ~((1u << place) - 1u));
        to[(size_t)channel * length] = from[(size_t)taken * length];
    }
    to[(size_t)4 * length] = target_N[design];
    to[(size_t)5 * length] = (float)told;
}

extern "C" __global__ void keep_bases(const float* out, const u64* seed_N, float* bases_N4L, unsigned first, unsigned count,
                                      unsigned length, unsigned step, unsigned draw) {
    const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count * length) return;
    const unsigned row = index / length, at = index - row * length, design = first + row;
    const float* from = out + (size_t)row * 4 * length + at;
    float* to = bases_N4L + (size_t)design * 4 * length + at;
    if (!draw) {
        for (unsigned channel = 0; channel < 4; ++channel) to[(size_t)channel * length] = from[(size_t)channel * length];
        return;
    }
    const float level = (float)below(seed_N[design], step, DRAWN_FROM + at, GRAIN) / (float)GRAIN;
    float edge = 0.0f;
    unsigned code = 0;
    for (unsigned channel = 0; channel < 3; ++channel) {
        edge += from[(size_t)channel * length];
        code += level >= edge;
    }
    for (unsigned channel = 0; channel < 4; ++channel) to[(size_t)channel * length] = channel == code ? 1.0f : 0.0f;
}
