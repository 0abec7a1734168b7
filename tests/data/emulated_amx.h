// emulated_amx.h: AMX tiles and AVX512-FP16 in plain C++, so that the amx form of kernels/cpu runs, bit for bit, on CPUs that have
// neither. Included before kernels/cpu/amx.cpp (`setup.py build_cpu --emulate`); for tests alone, since it is far too slow to score.
//
// tiles    TDPBF16PS as the manual has it: products of even and of odd inputs summed apart, each fused, from zero, then both added,
//          then added to the tile; subnormals flushed both ways and rounding to nearest even whatever MXCSR says. A tile that is not
//          configured, or of the wrong shape for an instruction, ends the process, as it would raise #UD.
// FP16     every operation in double, where sums and products of FP16 are exact or round alike, then rounded once to FP16 with
//          integers. Subnormals are kept, as the CPU keeps them. Nothing is shared with vectors_portable.h, whose bits it checks.
// bf16     VCVTNE2PS2BF16 with integers
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EMULATED static __attribute__((noinline))  // the form inlines what it calls; copies of these would take minutes to compile

namespace emulated {

struct Tiles {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
    alignas(64) uint8_t data[8][16][64];
};
static thread_local Tiles tiles;

static inline void demand(bool holds) {
    if (!holds) abort();
}
EMULATED void configure(const void* from) {
    memset(&tiles, 0, sizeof tiles);
    memcpy(&tiles, from, 64);
    demand(tiles.palette == 1 && tiles.start == 0);
    for (int i = 0; i < 14; i++) demand(tiles.reserved[i] == 0);
    for (int i = 0; i < 16; i++) {
        demand(i < 8 ? tiles.row_bytes[i] <= 64 && tiles.rows[i] <= 16 : !tiles.row_bytes[i] && !tiles.rows[i]);
        demand(!tiles.row_bytes[i] == !tiles.rows[i]);
    }
}
static inline void release() { memset(&tiles, 0, sizeof tiles); }
EMULATED void load(int tile, const void* from, size_t stride) {
    demand(tiles.palette == 1 && tiles.rows[tile]);
    memset(tiles.data[tile], 0, sizeof tiles.data[tile]);
    for (int r = 0; r < tiles.rows[tile]; r++)
        memcpy(tiles.data[tile][r], (const char*)from + r * stride, tiles.row_bytes[tile]);
}
EMULATED void store(int tile, void* to, size_t stride) {
    demand(tiles.palette == 1 && tiles.rows[tile]);
    for (int r = 0; r < tiles.rows[tile]; r++) memcpy((char*)to + r * stride, tiles.data[tile][r], tiles.row_bytes[tile]);
}
static inline float of_bf16(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
}
EMULATED void product(int sums, int a, int b) {
    demand(tiles.palette == 1 && sums != a && sums != b && a != b);
    const int rows = tiles.rows[sums], columns = tiles.row_bytes[sums] / 4, pairs = tiles.row_bytes[a] / 4;
    demand(rows && columns && pairs && tiles.rows[a] == rows && tiles.rows[b] == pairs && tiles.row_bytes[b] == columns * 4);
    const unsigned before = _mm_getcsr();
    _mm_setcsr(0x9fc0u);
    uint16_t left[16][32], right[16][16][2];
    float sum[16][16];
    memcpy(left, tiles.data[a], 1024);
    memcpy(right, tiles.data[b], 1024);
    memcpy(sum, tiles.data[sums], 1024);
    for (int m = 0; m < rows; m++) {
        float even[16] = {}, odd[16] = {};
        for (int k = 0; k < pairs; k++)
            for (int n = 0; n < 16; n++) {
                even[n] = __builtin_fmaf(of_bf16(left[m][2 * k]), of_bf16(right[k][n][0]), even[n]);
                odd[n] = __builtin_fmaf(of_bf16(left[m][2 * k + 1]), of_bf16(right[k][n][1]), odd[n]);
            }
        for (int n = 0; n < columns; n++) sum[m][n] += even[n] + odd[n];
    }
    memcpy(tiles.data[sums], sum, 1024);
    _mm_setcsr(before);
}

struct Half {
    alignas(64) uint16_t bits[32];
};
struct HalfOfHalf {
    alignas(32) uint16_t bits[16];
};

static inline uint64_t bits_of_double(double value) {
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return bits;
}
static inline double double_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, 8);
    return value;
}
static inline double value_of(uint16_t half) {
    const uint64_t sign = (uint64_t)(half >> 15) << 63, size = half & 0x7fffu;
    const double tiny = (double)(int64_t)(size & 0x3ffu) * 0x1p-24;
    const uint64_t usual = (size << 42) + ((uint64_t)1008 << 52), beyond = (size << 42) + ((uint64_t)2016 << 52);
    return double_of(sign | (size < 0x400u ? bits_of_double(tiny) : size < 0x7c00u ? usual : beyond));
}
static inline uint16_t half_of(double value) {
    const uint64_t bits = bits_of_double(value), size = bits & ~((uint64_t)1 << 63);
    const uint64_t tiny = bits_of_double(double_of(size) + 0x1p28) - bits_of_double(0x1p28);  // its last place is 2^-24
    const uint64_t usual = ((size + (((uint64_t)1 << 41) - 1) + (size >> 42 & 1)) >> 42) - ((uint64_t)1008 << 10);
    uint64_t found = size < bits_of_double(0x1p-14) ? tiny : size >= bits_of_double(65520.0) ? 0x7c00u : usual;
    found = size > bits_of_double(__builtin_inf()) ? 0x7e00u : found;
    return (uint16_t)(found | (bits >> 63 << 15));
}

static inline Half load_half(const void* from) {
    Half v;
    memcpy(&v, from, 64);
    return v;
}
EMULATED Half splat(double x) {
    Half v;
    for (int i = 0; i < 32; i++) v.bits[i] = half_of(x);
    return v;
}
EMULATED Half sum(Half a, Half b) {
    for (int i = 0; i < 32; i++) a.bits[i] = half_of(value_of(a.bits[i]) + value_of(b.bits[i]));
    return a;
}
EMULATED Half fused(Half a, Half b, Half c) {
    for (int i = 0; i < 32; i++) a.bits[i] = half_of(value_of(a.bits[i]) * value_of(b.bits[i]) + value_of(c.bits[i]));
    return a;
}
EMULATED Half lesser(Half a, Half b) {
    for (int i = 0; i < 32; i++) a.bits[i] = value_of(a.bits[i]) < value_of(b.bits[i]) ? a.bits[i] : b.bits[i];
    return a;
}
static inline Half magnitude(Half a) {
    for (int i = 0; i < 32; i++) a.bits[i] &= 0x7fffu;
    return a;
}
EMULATED HalfOfHalf narrowed(__m512 v) {
    float each[16];
    memcpy(each, &v, 64);
    HalfOfHalf found;
    for (int i = 0; i < 16; i++) found.bits[i] = half_of((double)each[i]);
    return found;
}
EMULATED __m512 widened(HalfOfHalf v) {
    float each[16];
    for (int i = 0; i < 16; i++) each[i] = (float)value_of(v.bits[i]);
    __m512 found;
    memcpy(&found, each, 64);
    return found;
}
template <class To, class From>
static inline To cast(From from) {  // the same bits, or the first of them
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
EMULATED __m512i bf16(__m512 high, __m512 low) {
    float each[32];
    uint16_t found[32];
    memcpy(each, &low, 64);
    memcpy(each + 16, &high, 64);
    for (int i = 0; i < 32; i++) {
        uint32_t bits;
        memcpy(&bits, &each[i], 4);
        const uint32_t size = bits & 0x7fffffffu, nearest = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
        found[i] = (uint16_t)(size > 0x7f800000u ? bits >> 16 | 0x40u : size < 0x00800000u ? bits >> 16 & 0x8000u : nearest);
    }
    __m512i v;
    memcpy(&v, found, 64);
    return v;
}

}  // namespace emulated

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig emulated::configure
#define _tile_release emulated::release
#define _tile_loadd emulated::load
#define _tile_stored emulated::store
#define _tile_dpbf16ps emulated::product

#define _Float16 double
#define __m512h emulated::Half
#define _mm512_load_ph emulated::load_half
#define _mm512_set1_ph emulated::splat
#define _mm512_add_ph emulated::sum
#define _mm512_fmadd_ph emulated::fused
#define _mm512_min_ph emulated::lesser
#define _mm512_abs_ph emulated::magnitude
#define _mm512_castph_si512 emulated::cast<__m512i>
#define _mm512_castsi512_ph emulated::cast<emulated::Half>
#define _mm512_castph512_ph256 emulated::cast<emulated::HalfOfHalf>
#define _mm256_castph_si256 emulated::cast<__m256i>
#define _mm256_castsi256_ph emulated::cast<emulated::HalfOfHalf>
#define _mm512_cvtxps_ph emulated::narrowed
#define _mm512_cvtxph_ps emulated::widened
#define _mm512_cvtne2ps_pbh emulated::bf16
