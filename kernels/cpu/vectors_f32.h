// vectors_f32.h: 16 FP32 numbers at once, and 32 bit patterns of 16 bits, with AVX-512 F, BW, DQ and VL; shared by the AVX-512 and
// the AMX form.
//
// shapes   F: 16 FP32 numbers, U16: 32 patterns, one register each
// layout   in memory one after another, at multiples of 64 bytes
// bytes    64 for each vector read or written
// bound    one to three instructions each
// twin     vectors_portable.h, equal bit for bit

typedef __m512 F;
typedef __m512i U16;

INLINE F load(const float* from) { return _mm512_load_ps(from); }
INLINE void store(float* to, F v) { _mm512_store_ps(to, v); }
INLINE F splat(float x) { return _mm512_set1_ps(x); }
INLINE F fused(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
INLINE F lesser(F a, F b) { return _mm512_min_ps(a, b); }
INLINE F greater(F a, F b) { return _mm512_max_ps(a, b); }
INLINE F magnitude(F v) { return _mm512_abs_ps(v); }
INLINE F look_up(const float* table, F v) {
    const __m512i at = _mm512_srli_epi32(_mm512_castps_si512(v), 20);  // the instruction takes the low five bits
    return _mm512_permutex2var_ps(_mm512_load_ps(table), at, _mm512_load_ps(table + 16));
}
INLINE F whole_below(F v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
INLINE F power_of_two(F whole) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(whole), _mm512_set1_epi32(127)), 23));
}
INLINE F bf16_values(const uint16_t* from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from)), 16));
}
INLINE void put(uint16_t* to, U16 bits) { _mm512_store_si512(to, bits); }
INLINE U16 no_bits() { return _mm512_setzero_si512(); }
INLINE U16 larger(U16 a, U16 b) { return _mm512_max_epu16(a, b); }
INLINE int32_t largest(U16 v) {
    alignas(64) uint16_t each[32];
    _mm512_store_si512(each, v);
    uint16_t most = 0;
    for (int i = 0; i < 32; i++) most = each[i] > most ? each[i] : most;
    return most;
}
