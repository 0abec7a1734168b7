// vectors_portable.h: 16 FP32 or 32 FP16 numbers at once in plain C++ (vector types of GCC and Clang, any CPU).
//
// An FP16 number is held as the FP32 that equals it. The sum of two is rounded once in FP32 and once to FP16, which is exact for
// formats of 24 and 11 bits; a fused multiply-add is the exact product plus the addend, rounded to odd in FP32, then to FP16.
//
// shapes   F: 16 FP32 numbers; H: 32 FP16 numbers, as two F; U16: 32 patterns of 16 bits
// layout   in memory one after another, at any address
// bytes    64 for each vector read or written, 128 for an H held as FP32
// bound    element by element where no vector type has the operation; correct first, since it judges the others
// twin     vectors_avx512.h, vectors_half.h, equal bit for bit

typedef float F __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
typedef uint32_t U __attribute__((vector_size(64)));
typedef uint16_t U16 __attribute__((vector_size(64)));
struct H {
    F low, high;
};

INLINE F load(const float* from) {
    F v;
    memcpy(&v, from, 64);
    return v;
}
INLINE void store(float* to, F v) { memcpy(to, &v, 64); }
INLINE F splat(float x) { return F{} + x; }
INLINE F fused(F a, F b, F c) {  // a b + c, rounded once
    F v;
    for (int i = 0; i < 16; i++) v[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return v;
}
INLINE F pick(I mask, F yes, F no) { return (F)(((U)mask & (U)yes) | (~(U)mask & (U)no)); }
INLINE F lesser(F a, F b) { return pick(a < b, a, b); }  // b where either is NaN
INLINE F greater(F a, F b) { return pick(a > b, a, b); }
INLINE F magnitude(F v) { return (F)((U)v & 0x7fffffffu); }
INLINE F look_up(const float* table, F v) {
    const U at = ((U)v >> 20) & 31u;
    F found;
    for (int i = 0; i < 16; i++) found[i] = table[at[i]];
    return found;
}
INLINE F whole_below(F v) {  // floor, |v| < 2^31
    const F cut = __builtin_convertvector(__builtin_convertvector(v, I), F);
    return pick(cut > v, cut - 1.0f, cut);
}
INLINE F power_of_two(F whole) {  // -126 .. 127
    return (F)((__builtin_convertvector(whole, I) + 127) << 23);
}

INLINE F round_half(F v) {  // to the nearest FP16, ties to even
    const U bits = (U)v, size = bits & 0x7fffffffu, sign = bits & 0x80000000u;
    const U usual = (size + 0xfffu + ((size >> 13) & 1u)) & ~0x1fffu;
    const U tiny = (U)(((F)size + 0.5f) - 0.5f);
    U found = (U)pick((I)(size < 0x38800000u), (F)tiny, (F)usual);
    found = (U)pick((I)(size >= 0x477ff000u), (F)(U{} + 0x7f800000u), (F)found);
    found = (U)pick((I)(size > 0x7f800000u), (F)(U{} + 0x7fc00000u), (F)found);
    return (F)(found | sign);
}
INLINE F fused_half(F a, F b, F c) {
    const F product = a * b, sum = product + c, part = sum - product;
    const F lost = (product - (sum - part)) + (c - part);
    const U bits = (U)sum;
    const I inexact = (lost > 0.0f) | (lost < 0.0f), even = (I)((bits & 1u) == 0u), outwards = (lost > 0.0f) == (sum > 0.0f);
    const U step = (U)((outwards & 1) | (~outwards & -1)) & (U)(inexact & even);
    return round_half((F)(bits + step));
}

INLINE F half_values(const uint16_t* from) {
    U bits;
    for (int i = 0; i < 16; i++) bits[i] = from[i];
    const U sign = (bits & 0x8000u) << 16, size = bits & 0x7fffu;
    const U usual = (size << 13) + 0x38000000u, tiny = (U)(__builtin_convertvector((I)size, F) * 0x1p-24f);
    U found = (U)pick((I)(size < 0x400u), (F)tiny, (F)usual);
    found = (U)pick((I)(size >= 0x7c00u), (F)((size << 13) + 0x70000000u), (F)found);
    return (F)(found | sign);
}
INLINE U half_bits_16(F v) {  // of numbers that are FP16 already
    const U bits = (U)v, size = bits & 0x7fffffffu, sign = (bits >> 16) & 0x8000u;
    const U tiny = (U)__builtin_convertvector((F)(U)pick((I)(size < 0x38800000u), (F)size, F{}) * 0x1p24f, I);
    U found = (U)pick((I)(size < 0x38800000u), (F)tiny, (F)((size >> 13) - 0x1c000u));
    found = (U)pick((I)(size >= 0x7f800000u), (F)(((size >> 13) & 0x3ffu) | 0x7c00u), (F)found);
    return found | sign;
}
INLINE U16 narrowed(U low, U high) {
    U16 v;
    for (int i = 0; i < 16; i++) v[i] = (uint16_t)low[i], v[16 + i] = (uint16_t)high[i];
    return v;
}

INLINE H half_load(const uint16_t* from) { return H{half_values(from), half_values(from + 16)}; }
INLINE H half_splat(float x) { return H{splat(x), splat(x)}; }
INLINE H half_sum(H a, H b) { return H{round_half(a.low + b.low), round_half(a.high + b.high)}; }
INLINE H half_fused(H a, H b, H c) { return H{fused_half(a.low, b.low, c.low), fused_half(a.high, b.high, c.high)}; }
INLINE H half_lesser(H a, H b) { return H{lesser(a.low, b.low), lesser(a.high, b.high)}; }
INLINE H half_magnitude(H v) { return H{magnitude(v.low), magnitude(v.high)}; }
INLINE H half_slope(H v) { return H{look_up(SILU_HALF_1, v.low), look_up(SILU_HALF_1, v.high)}; }
INLINE H half_start(H v) { return H{look_up(SILU_HALF_0, v.low), look_up(SILU_HALF_0, v.high)}; }
INLINE H half_joined(F low, F high) { return H{round_half(low), round_half(high)}; }
INLINE F half_low(H v) { return v.low; }
INLINE F half_high(H v) { return v.high; }
INLINE U16 half_bits(H v) { return narrowed(half_bits_16(v.low), half_bits_16(v.high)); }

INLINE U bf16_16(F v) {
    const U bits = (U)v, size = bits & 0x7fffffffu;
    U found = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    found = (U)pick((I)(size < 0x00800000u), (F)((bits >> 16) & 0x8000u), (F)found);
    return (U)pick((I)(size > 0x7f800000u), (F)((bits >> 16) | 0x40u), (F)found);
}
INLINE U16 bf16_bits(F low, F high) { return narrowed(bf16_16(low), bf16_16(high)); }
INLINE F bf16_values(const uint16_t* from) {
    U bits;
    for (int i = 0; i < 16; i++) bits[i] = (uint32_t)from[i] << 16;
    return (F)bits;
}
INLINE void put(uint16_t* to, U16 bits) { memcpy(to, &bits, 64); }
INLINE U16 no_bits() { return U16{}; }
INLINE U16 larger(U16 a, U16 b) {
    const U16 mask = (U16)(a > b);
    return (mask & a) | (~mask & b);
}
INLINE int32_t largest(U16 v) {
    uint16_t most = 0;
    for (int i = 0; i < 32; i++) most = v[i] > most ? v[i] : most;
    return most;
}
