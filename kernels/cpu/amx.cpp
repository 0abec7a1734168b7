// amx.cpp: the network with AMX tiles, AVX512-FP16 and AVX512-BF16. The system must have allowed tiles (legnet_runs).
//
// shapes, layout, bytes: driver.h, which is compiled here with this form's vectors and tiles
// bound    tile products
// twin     portable.cpp, equal bit for bit
#include <immintrin.h>
#include <string.h>
#include <time.h>

#include "legnet.h"
#include "numbers.h"

#define INLINE inline __attribute__((always_inline))
#define UNROLL(n) PRAGMA(GCC unroll n)
#define PRAGMA(text) _Pragma(#text)
#define NOINLINE __attribute__((noinline))

namespace {
#include "tables.h"
#include "vectors_half.h"
#include "silu.h"
#include "epilogue.h"
#include "tiles_amx.h"
#include "group.h"
#include "squeeze.h"
#include "rows.h"
#include "head.h"
#include "driver.h"
#include "mode.h"
#include "rate.h"
}  // namespace

int32_t legnet_unit_amx(const Network* net, Work* work, const Strand* strands, int32_t count, int32_t singleton, float* out,
                        int32_t depth, uint16_t* activations) {
    const Mode mode;
    tiles_open();
    const int32_t done = run_unit(*net, *work, strands, count, singleton, out, depth, activations);
    tiles_close();
    return done;
}

double legnet_rate_amx(double seconds) {
    const Mode mode;
    tiles_open();
    const double rate = bare_rate(seconds);
    tiles_close();
    return rate;
}
