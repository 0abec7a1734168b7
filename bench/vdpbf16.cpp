// vdpbf16.cpp: the products of kernels/cpu/tiles_plain.h with VDPBF16PS, for bench/vdpbf16.py. Not part of the library.
//
// shapes   rows A bf16 [32][32 steps], weights bf16 pairs [steps][2][16][16][2], sums FP32 [32][32]
// kinds    0: fused multiply-adds of even and odd inputs apart (the avx512 form itself); 1: the same bits with VDPBF16PS, whose other input
//          of each pair is zero; 2: VDPBF16PS as it is, sums kept in registers over all steps (other bits)
#include <immintrin.h>
#include <string.h>
#include <time.h>

#include "legnet.h"
#include "numbers.h"

#define LEGNET_AVX512 1
#define INLINE inline __attribute__((always_inline))
#define UNROLL(n) PRAGMA(GCC unroll n)
#define PRAGMA(text) _Pragma(#text)

namespace {
#include "tables.h"
#include "vectors_avx512.h"
#include "silu.h"
#include "epilogue.h"
#include "tiles_plain.h"
}  // namespace

enum { STEPS = 16 };

static void fused(const uint16_t* a, const uint16_t* b, float* block) {
    for (int s = 0; s < STEPS; s++) products<32>(a + s * 1024, b + s * 1024, block);
}
template <bool APART>
static void dotted(const uint16_t* a, const uint16_t* b, float* block) {
    const __m512i low = _mm512_set1_epi32(0x0000ffff), high = _mm512_set1_epi32((int)0xffff0000u);
    for (int r0 = 0; r0 < 32; r0 += 8)
        for (int half = 0; half < 2; half++) {
            __m512 sum[8];
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) sum[i] = _mm512_load_ps(block + (r0 + i) * 32 + half * 16);
            for (int s = 0; s < STEPS; s++) {
                __m512 even[8], odd[8];
#pragma GCC unroll 8
                for (int i = 0; i < 8; i++) even[i] = odd[i] = _mm512_setzero_ps();
#pragma GCC unroll 2
                for (int k = 0; k < 16; k++) {
                    const __m512i pair = _mm512_load_si512(b + s * 1024 + half * 512 + k * 32);
                    const __m512bh x = (__m512bh)_mm512_and_si512(pair, low), y = (__m512bh)_mm512_and_si512(pair, high);
#pragma GCC unroll 8
                    for (int i = 0; i < 8; i++) {
                        const int both = *(const int*)(a + s * 1024 + (r0 + i) * 32 + 2 * k);
                        const __m512bh row = (__m512bh)_mm512_set1_epi32(both);
                        if (APART) {
                            even[i] = _mm512_dpbf16_ps(even[i], row, x);
                            odd[i] = _mm512_dpbf16_ps(odd[i], row, y);
                        } else {
                            sum[i] = _mm512_dpbf16_ps(sum[i], row, (__m512bh)pair);
                        }
                    }
                }
                if (APART)
#pragma GCC unroll 8
                    for (int i = 0; i < 8; i++) sum[i] = _mm512_add_ps(sum[i], _mm512_add_ps(even[i], odd[i]));
            }
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) _mm512_store_ps(block + (r0 + i) * 32 + half * 16, sum[i]);
        }
}
static void run(int kind, const uint16_t* a, const uint16_t* b, float* block) {
    if (kind == 0) fused(a, b, block);
    if (kind == 1) dotted<true>(a, b, block);
    if (kind == 2) dotted<false>(a, b, block);
}

// The sums of one call into block, or with `seconds` FLOP a second of many.
extern "C" double vdpbf16(int kind, const uint16_t* a, const uint16_t* b, float* block, double seconds) {
    const unsigned before = _mm_getcsr();
    _mm_setcsr(0x9fc0u);
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double began = now.tv_sec + now.tv_nsec * 1e-9;
    double taken = 0.0, calls = 0.0;
    do {
        run(kind, a, b, block);
        calls += 1.0;
        clock_gettime(CLOCK_MONOTONIC, &now);
        taken = now.tv_sec + now.tv_nsec * 1e-9 - began;
    } while (taken < seconds);
    _mm_setcsr(before);
    return calls * STEPS * 2.0 * 32 * 32 * 32 / taken;
}
