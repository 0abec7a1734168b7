// vectors_half.h: 32 FP16 numbers at once with AVX512-FP16, and bf16 with AVX512-BF16; FP32 as in vectors_f32.h.
//
// shapes   H: 32 FP16 numbers in one register
// layout   in memory one after another, at multiples of 64 bytes
// bytes    64 for each vector read or written
// bound    one instruction each, three to join two FP32 vectors
// twin     vectors_portable.h, equal bit for bit

#include "vectors_f32.h"

typedef __m512h H;

INLINE H half_load(const uint16_t* from) { return _mm512_load_ph(from); }
INLINE H half_splat(float x) { return _mm512_set1_ph((_Float16)x); }
INLINE H half_sum(H a, H b) { return _mm512_add_ph(a, b); }
INLINE H half_fused(H a, H b, H c) { return _mm512_fmadd_ph(a, b, c); }
INLINE H half_lesser(H a, H b) { return _mm512_min_ph(a, b); }
INLINE H half_magnitude(H v) { return _mm512_abs_ph(v); }
INLINE H half_entry(const uint16_t* table, H v) {
    const __m512i at = _mm512_srli_epi16(_mm512_castph_si512(v), 7);  // the instruction takes the low five bits
    return _mm512_castsi512_ph(_mm512_permutexvar_epi16(at, _mm512_load_si512(table)));
}
INLINE H half_slope(H v) { return half_entry(SILU_HALF_1_BITS, v); }
INLINE H half_start(H v) { return half_entry(SILU_HALF_0_BITS, v); }
INLINE H half_joined(F low, F high) {
    return _mm512_castsi512_ph(_mm512_inserti64x4(_mm512_castsi256_si512(_mm256_castph_si256(_mm512_cvtxps_ph(low))),
                                                  _mm256_castph_si256(_mm512_cvtxps_ph(high)), 1));
}
INLINE F half_low(H v) { return _mm512_cvtxph_ps(_mm512_castph512_ph256(v)); }
INLINE F half_high(H v) {
    return _mm512_cvtxph_ps(_mm256_castsi256_ph(_mm512_extracti64x4_epi64(_mm512_castph_si512(v), 1)));
}
INLINE F half_values(const uint16_t* from) { return _mm512_cvtxph_ps(_mm256_castsi256_ph(_mm256_load_si256((const __m256i*)from))); }
INLINE U16 half_bits(H v) { return _mm512_castph_si512(v); }
INLINE U16 bf16_bits(F low, F high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
