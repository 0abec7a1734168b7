// one_hot.cu: codes of windows -> the network's input, both strands.
//
// shapes   codes_WL uint8 [windows, length], A,G,C,T,N = 0..4
//          x        FP16 or FP32 bits; rows 0..windows-1 are the forward strands, then (if both) as many reverse
//                   complements of whole windows; rows beyond those are zero (the padded tail of a fixed batch)
// layout   one_hot_ncl_*  x [rows, channels, length], the same memory as [rows, channels, 1, length]
//          one_hot_hwc8   x [rows, 1, length, 8], channels 6 and 7 (and any the model lacks) zero; FP16 only
// channels the four bases, then extra ones that are 0 or 1 all along a strand: bit k of extras_forward or extras_reverse is
//          channel 4 + k. A base channel holds `unknown` at an N.
// launch   one thread for each 16 bytes of x: blocks of 256, ceil(bytes of x / 16 / 256) of them; x aligned to 16 bytes
// bytes    reads windows * length (from cache for the second strand and the other channels), writes all of x
// bound    memory: the store of x. rows * channels * length must be below 2^31 (the caller checks).
// twin     legscore/dna/one_hot.py, strands(): equal bit for bit
//
// No barriers, no shuffles: run one thread after another on a host, it gives the same bits.

typedef unsigned char u8;
typedef unsigned short f16_bits;
typedef unsigned int f32_bits;

template <typename T>
struct alignas(16) Packed {
    T value[16 / sizeof(T)];
};

// The code at `at` of the strand that a row holds.
__device__ __forceinline__ unsigned strand_code(const u8* codes_WL, unsigned row, unsigned at, unsigned windows, unsigned length) {
    if (row < windows) return codes_WL[(size_t)row * length + at];
    const unsigned code = codes_WL[(size_t)(row - windows) * length + (length - 1 - at)];
    return code < 4 ? 3 - code : code;
}

template <typename T>
__device__ __forceinline__ T channel_value(unsigned channel, unsigned code, unsigned extras, T one, T unknown) {
    if (channel >= 4) return (extras >> (channel - 4)) & 1u ? one : (T)0;
    return code == channel ? one : code == 4 ? unknown : (T)0;
}

template <typename T>
__device__ __forceinline__ void one_hot_ncl(const u8* codes_WL, T* x, unsigned windows, unsigned length, unsigned channels,
                                            unsigned rows, unsigned both, T one, T unknown, unsigned extras_forward,
                                            unsigned extras_reverse) {
    const unsigned each = 16 / sizeof(T), total = rows * channels * length;
    const unsigned first = (blockIdx.x * blockDim.x + threadIdx.x) * each;
    if (first >= total) return;
    const unsigned used = both ? 2 * windows : windows;
    const unsigned plane = first / length;
    unsigned at = first - plane * length, row = plane / channels, channel = plane - row * channels;
    Packed<T> packed;
#pragma unroll
    for (unsigned k = 0; k < each; ++k) {
        T value = 0;
        if (row < used) {
            const unsigned code = channel < 4 ? strand_code(codes_WL, row, at, windows, length) : 0;
            value = channel_value<T>(channel, code, row < windows ? extras_forward : extras_reverse, one, unknown);
        }
        packed.value[k] = value;
        if (++at == length) {
            at = 0;
            if (++channel == channels) {
                channel = 0;
                ++row;
            }
        }
    }
    if (first + each <= total) {
        *reinterpret_cast<Packed<T>*>(x + first) = packed;
    } else {
#pragma unroll  // an index known when compiled: else `packed` lies in memory, on a stack
        for (unsigned k = 0; k < each; ++k)
            if (first + k < total) x[first + k] = packed.value[k];
    }
}

extern "C" __global__ void one_hot_ncl_f16(const u8* codes_WL, f16_bits* x, unsigned windows, unsigned length, unsigned channels,
                                           unsigned rows, unsigned both, unsigned one, unsigned unknown,
                                           unsigned extras_forward, unsigned extras_reverse) {
    one_hot_ncl<f16_bits>(codes_WL, x, windows, length, channels, rows, both, (f16_bits)one, (f16_bits)unknown, extras_forward,
                          extras_reverse);
}

extern "C" __global__ void one_hot_ncl_f32(const u8* codes_WL, f32_bits* x, unsigned windows, unsigned length, unsigned channels,
                                           unsigned rows, unsigned both, unsigned one, unsigned unknown,
                                           unsigned extras_forward, unsigned extras_reverse) {
    one_hot_ncl<f32_bits>(codes_WL, x, windows, length, channels, rows, both, one, unknown, extras_forward, extras_reverse);
}

extern "C" __global__ void one_hot_hwc8(const u8* codes_WL, f16_bits* x, unsigned windows, unsigned length, unsigned channels,
                                        unsigned rows, unsigned both, unsigned one, unsigned unknown, unsigned extras_forward,
                                        unsigned extras_reverse) {
    const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= rows * length) return;
    const unsigned row = index / length, at = index - row * length;
    Packed<f16_bits> packed;
    const bool used = row < (both ? 2 * windows : windows);
    const unsigned code = used ? strand_code(codes_WL, row, at, windows, length) : 0;
    const unsigned extras = row < windows ? extras_forward : extras_reverse;
#pragma unroll
    for (unsigned channel = 0; channel < 8; ++channel) {
        const bool holds = used && channel < channels;
        packed.value[channel] = holds ? channel_value<f16_bits>(channel, code, extras, (f16_bits)one, (f16_bits)unknown) : (f16_bits)0;
    }
    *reinterpret_cast<Packed<f16_bits>*>(x + (size_t)index * 8) = packed;
}
