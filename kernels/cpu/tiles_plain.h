// tiles_plain.h: blocks of products without tiles, with the bits of AMX; for the portable and the AVX-512 form.
//
// shapes   rows A: bf16, 32 inputs (64 bytes) at each of 32 rows, `row` numbers apart; weights as Product holds them
// layout   as in tiles_amx.h
// bytes    a step reads 2 KiB of rows and 2 KiB of weights, and reads and writes 4 KiB of sums in L1
// bits     as TDPBF16PS sums one step: products of even and of odd inputs apart, each from zero in order, then both added, then
//          added to the accumulator, which starts as the bias. A product of two bf16 is exact in FP32, so that multiplying and
//          adding apart equals the fused operation. FP32 subnormals are flushed (the caller sets the mode).
// bound    FP32 arithmetic: half of what VDPBF16PS reaches, whose order of sums is another (bench/vdpbf16.py)
// twin     tiles_amx.h

template <int ROW>
INLINE void products(const uint16_t* a, const uint16_t* b, float* block);

// One block: block[32][32] = bias + sum over panels and taps, then SiLU and store.
template <class E, int ROW>
INLINE void tile_block(Pending& pending, Work& work, const uint16_t* a, size_t panel_stride, int32_t panels, int32_t taps, int32_t tap,
                       const uint16_t* b, const float* bias, const float*, uint16_t* to) {
    float* block = work.scratch;
    for (int32_t r = 0; r < 32; r++) {
        store(block + r * 32, load(bias));
        store(block + r * 32 + 16, load(bias + 16));
    }
    for (int32_t p = 0; p < panels; p++)
        for (int32_t t = 0; t < taps; t++, b += 1024) products<ROW>(a + p * panel_stride + t * tap, b, block);
    pending.from = block;
    pending.to = to;
    pending.rows = 32;
    work_off<E>(pending, 32);
}
// The sums of one block alone.
template <int ROW>
INLINE void tile_sums(Work& work, const uint16_t* a, size_t panel_stride, int32_t panels, const uint16_t* b, const float* bias) {
    float* block = work.scratch;
    for (int32_t r = 0; r < 32; r++) {
        store(block + r * 32, load(bias));
        store(block + r * 32 + 16, load(bias + 16));
    }
    for (int32_t p = 0; p < panels; p++, b += 1024) products<ROW>(a + p * panel_stride, b, block);
}
INLINE void tiles_begin(const float*) {}
INLINE void tiles_open() {}
INLINE void tiles_close() {}

#ifdef LEGNET_AVX512
template <int ROW>
INLINE void products(const uint16_t* a, const uint16_t* b, float* block) {
    alignas(64) float wide[8][32];
    for (int32_t r0 = 0; r0 < 32; r0 += 8) {
#pragma GCC unroll 8
        for (int32_t i = 0; i < 8; i++) {
            store(wide[i], bf16_values(a + (r0 + i) * ROW));
            store(wide[i] + 16, bf16_values(a + (r0 + i) * ROW + 16));
        }
        for (int32_t half = 0; half < 2; half++) {
            F even[8], odd[8];
#pragma GCC unroll 8
            for (int32_t i = 0; i < 8; i++) even[i] = odd[i] = splat(0.0f);
#pragma GCC unroll 2
            for (int32_t k = 0; k < 16; k++) {
                const __m512i pair = _mm512_load_si512(b + half * 512 + k * 32);
                const F x = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
                const F y = _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000u)));
#pragma GCC unroll 8
                for (int32_t i = 0; i < 8; i++) {
                    even[i] = _mm512_fmadd_ps(_mm512_set1_ps(wide[i][2 * k]), x, even[i]);
                    odd[i] = _mm512_fmadd_ps(_mm512_set1_ps(wide[i][2 * k + 1]), y, odd[i]);
                }
            }
#pragma GCC unroll 8
            for (int32_t i = 0; i < 8; i++) {
                float* to = block + (r0 + i) * 32 + half * 16;
                store(to, _mm512_add_ps(load(to), _mm512_add_ps(even[i], odd[i])));
            }
        }
    }
}
#else
typedef float Four __attribute__((vector_size(16)));  // what any CPU holds in a register
template <int ROW>
INLINE void products(const uint16_t* a, const uint16_t* b, float* block) {
    alignas(64) float weights[2][16][2][16];
    for (int32_t half = 0; half < 2; half++)
        for (int32_t k = 0; k < 16; k++)
            for (int32_t c = 0; c < 16; c++) {
                weights[half][k][0][c] = from_bf16(b[half * 512 + k * 32 + 2 * c]);
                weights[half][k][1][c] = from_bf16(b[half * 512 + k * 32 + 2 * c + 1]);
            }
    for (int32_t r = 0; r < 32; r++) {
        float row[32];
        for (int32_t k = 0; k < 32; k++) row[k] = from_bf16(a[r * ROW + k]);
        for (int32_t half = 0; half < 2; half++) {
            Four even[4] = {}, odd[4] = {};
            for (int32_t k = 0; k < 16; k++) {
                const Four *x = (const Four*)weights[half][k][0], *y = (const Four*)weights[half][k][1];
#pragma GCC unroll 4
                for (int32_t c = 0; c < 4; c++) {
                    even[c] = even[c] + row[2 * k] * x[c];
                    odd[c] = odd[c] + row[2 * k + 1] * y[c];
                }
            }
            Four* to = (Four*)(block + r * 32 + half * 16);
#pragma GCC unroll 4
            for (int32_t c = 0; c < 4; c++) to[c] = to[c] + (even[c] + odd[c]);
        }
    }
}
#endif

// What rate.h times: one step of a block, again and again.
static void four_products(const uint16_t* numbers, float* block, int32_t times) {
    for (int32_t i = 0; i < times; i++) products<32>(numbers, numbers + 1024, block);
}
