// vectors_avx512.h: 16 FP32 or 32 FP16 numbers at once with AVX-512 F, BW, DQ and VL, without AVX512-FP16.
//
// FP16 numbers are held as FP32, as in vectors_portable.h. Rounding to odd is taken from the sums rounded down and up: where they
// differ they are neighbours, and one of them is odd.
//
// shapes   F: 16 FP32 numbers in one register; H: 32 FP16 numbers in two; U16: 32 patterns of 16 bits
// layout   in memory one after another, at multiples of 64 bytes
// bytes    64 or 32 for each vector read or written
// bound    a fused FP16 multiply-add takes 14 instructions here, one in vectors_half.h
// twin     vectors_portable.h, equal bit for bit

#include "vectors_f32.h"

struct H {
    F low, high;
};

INLINE F round_half(F v) { return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
INLINE F fused_half(F a, F b, F c) {
    const F product = _mm512_mul_ps(a, b);
    const F down = _mm512_add_round_ps(product, c, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    const F up = _mm512_add_round_ps(product, c, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    const __mmask16 odd = _mm512_test_epi32_mask(_mm512_castps_si512(down), _mm512_set1_epi32(1));
    return round_half(_mm512_mask_blend_ps(odd, up, down));
}
INLINE F half_values(const uint16_t* from) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from)); }

INLINE H half_load(const uint16_t* from) { return H{half_values(from), half_values(from + 16)}; }
INLINE H half_splat(float x) { return H{splat(x), splat(x)}; }
INLINE H half_sum(H a, H b) { return H{round_half(_mm512_add_ps(a.low, b.low)), round_half(_mm512_add_ps(a.high, b.high))}; }
INLINE H half_fused(H a, H b, H c) { return H{fused_half(a.low, b.low, c.low), fused_half(a.high, b.high, c.high)}; }
INLINE H half_lesser(H a, H b) { return H{lesser(a.low, b.low), lesser(a.high, b.high)}; }
INLINE H half_magnitude(H v) { return H{magnitude(v.low), magnitude(v.high)}; }
INLINE H half_slope(H v) { return H{look_up(SILU_HALF_1, v.low), look_up(SILU_HALF_1, v.high)}; }
INLINE H half_start(H v) { return H{look_up(SILU_HALF_0, v.low), look_up(SILU_HALF_0, v.high)}; }
INLINE H half_joined(F low, F high) { return H{round_half(low), round_half(high)}; }
INLINE F half_low(H v) { return v.low; }
INLINE F half_high(H v) { return v.high; }
INLINE U16 half_bits(H v) {
    const int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(v.low, nearest)), _mm512_cvtps_ph(v.high, nearest), 1);
}

INLINE __m256i bf16_16(F v) {
    const __m512i bits = _mm512_castps_si512(v), size = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i found = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const __mmask16 tiny = _mm512_cmplt_epu32_mask(size, _mm512_set1_epi32(0x00800000));
    const __mmask16 nan = _mm512_cmpgt_epu32_mask(size, _mm512_set1_epi32(0x7f800000));
    found = _mm512_mask_and_epi32(found, tiny, bits, _mm512_set1_epi32((int)0x80000000u));
    found = _mm512_mask_or_epi32(found, nan, bits, _mm512_set1_epi32(0x00400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(found, 16));
}
INLINE U16 bf16_bits(F low, F high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(bf16_16(low)), bf16_16(high), 1);
}
