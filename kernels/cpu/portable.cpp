// portable.cpp: the network in plain C++: any CPU, and the judge of the other forms.
//
// shapes, layout, bytes: driver.h, which is compiled here with this form's vectors and tiles
// bound    the same, and FP16 arithmetic made of integers
// twin     legscore/model/forward.py (numpy FP32), within the tolerance of bf16
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "legnet.h"
#include "numbers.h"

#define INLINE inline  // vectors are memory here: copies of each operation would be long, and slow to compile
#define UNROLL(n)
#define NOINLINE __attribute__((noinline))

namespace {
#include "tables.h"
#include "vectors_portable.h"
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

int32_t legnet_unit_portable(const Network* net, Work* work, const Strand* strands, int32_t count, int32_t singleton, float* out,
                             int32_t depth, uint16_t* activations) {
    const Mode mode;
    return run_unit(*net, *work, strands, count, singleton, out, depth, activations);
}

double legnet_rate_portable(double seconds) {
    const Mode mode;
    return bare_rate(seconds);
}
