// avx512.cpp: the network with AVX-512 F, BW, DQ and VL: the same bits on CPUs without AMX, and the test of the vector code.
//
// shapes, layout, bytes: driver.h, which is compiled here with this form's vectors and tiles
// bound    FP32 multiply-adds (tiles_plain.h)
// twin     portable.cpp, equal bit for bit
#include <immintrin.h>
#include <string.h>
#include <time.h>

#include "legnet.h"
#include "numbers.h"

#define LEGNET_AVX512 1
#define INLINE inline __attribute__((always_inline))
#define UNROLL(n) PRAGMA(GCC unroll n)
#define PRAGMA(text) _Pragma(#text)
#define NOINLINE __attribute__((noinline))

namespace {
#include "tables.h"
#include "vectors_avx512.h"
#include "silu.h"
#include "epilogue.h"
#include "tiles_plain.h"
#include "group.h"
#include "squeeze.h"
#include "rows.h"
#include "head.h"
#include "driver.h"
#include "mode.h"
#include "rate.h"
}  // namespace

int32_t legnet_unit_avx512(const Network* net, Work* work, const Strand* strands, int32_t count, int32_t singleton, float* out,
                           int32_t depth, uint16_t* activations) {
    const Mode mode;
    return run_unit(*net, *work, strands, count, singleton, out, depth, activations);
}

double legnet_rate_avx512(double seconds) {
    const Mode mode;
    return bare_rate(seconds);
}
