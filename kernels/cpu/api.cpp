// api.cpp: the library's interface: which forms run here, buffers of a thread, and scores of windows.
//
// shapes   codes uint8 [windows][length], A,G,C,T,N = 0..4; window int32, offset int16, base uint8 [edits]; out float [nets][count]
// layout   rows one after another; a network and its buffers as in legnet.h
// order    a thread takes a stretch of windows; members in turn, units of strands within. Both strands of a window are scored and
//          averaged here. A unit in which an activation leaves its format's range is run again strand by strand, and the strands
//          at fault are NaN.
// bytes    a code for each base, 7 for an edit, 4 for a score; the units read and write the rest (driver.h)
// bound    the units
// twin     Batch.expand (legscore/dna/batch.py) and legscore/engine/base.py, average
#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "legnet.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum { RUNS = 0, NOT_BUILT = 1, CPU_LACKS = 2, SYSTEM_REFUSES = 3 };

#if defined(__x86_64__)
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
bool has_amx() {  // tiles of bf16, AVX512-FP16, AVX512-BF16
    unsigned a, b, c, d;
    if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    if (!(d >> 22 & 1) || !(d >> 23 & 1) || !(d >> 24 & 1)) return false;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}
#endif

RunUnit form_of(int32_t form) {
    if (form == FORM_PORTABLE) return legnet_unit_portable;
#ifdef LEGNET_WITH_AVX512
    if (form == FORM_AVX512) return legnet_unit_avx512;
#endif
#ifdef LEGNET_WITH_AMX
    if (form == FORM_AMX) return legnet_unit_amx;
#endif
    return nullptr;
}

struct Batch {
    const uint8_t* codes;
    const int32_t* window;
    const int16_t* offset;
    const uint8_t* base;
    int64_t plain;

    Strand strand(int64_t at, int32_t length, bool reverse) const {
        const int64_t edit = at - plain;
        if (edit < 0) return Strand{codes + at * length, -1, 0, (uint8_t)reverse, nullptr};
        return Strand{codes + (int64_t)window[edit] * length, offset[edit], base[edit], (uint8_t)reverse, nullptr};
    }
};

int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

void lay_out(Work& work, const Network& net) {
    const int32_t whole = (net.unit * (net.length + net.gap) + 31) / 32 * 32 + 2 * net.gap + 2;
    int32_t wide = 0, inner = 0, dense = 16;
    for (int32_t i = 0; i < net.n_blocks; i++) {
        const Block& b = net.blocks[i];
        wide = most(wide, most(2 * b.panels, b.next_panels));
        inner = most(inner, most(b.quads * net.per_group, b.next_panels));
        dense = most(dense, most((b.hidden_width + 15) / 16 * 16 + (b.hidden_width / 2 + 15) / 16 * 16, (b.rank + 15) / 16 * 16));
    }
    const int32_t logits = net.head == HEAD_SCALAR ? 2 * net.last_width : net.outputs;
    const size_t rows = (size_t)whole * 32;
    work.mean_stride = (size_t)most(inner, net.last_panels) * 32;
    work.dense_stride = (size_t)(most(dense, logits) + 31) / 32 * 32;
    work.logits_stride = (size_t)panels_of(logits) * 32;
    const auto take = [&work](size_t bytes) { return legnet_take(&work.memory, &work.used, bytes); };
    work.input = (uint16_t*)take((size_t)(whole + 64) * 16);
    for (int32_t i = 0; i < 2; i++) work.x[i] = (uint16_t*)take(wide * rows * 2);
    work.spread = (uint16_t*)take(net.per_group * rows * 2);
    work.inner = (uint16_t*)take(inner * rows * 2);
    work.gated = (uint16_t*)take((size_t)inner * 2048);
    work.scratch = (float*)take(4096);
    work.mean = (float*)take(MOST_STRANDS * work.mean_stride * 4);
    work.gate = (float*)take(MOST_STRANDS * work.mean_stride * 4);
    for (int32_t i = 0; i < 4; i++) work.dense[i] = (float*)take(MOST_STRANDS * work.dense_stride * 4);
    work.logits = (float*)take(MOST_STRANDS * work.logits_stride * 4);
}

// Scores of the strands, NaN where one left the range. False for a code beyond 4.
bool run_strands(RunUnit run, const Network& net, Work& work, const Strand* strands, int32_t count, int32_t singleton, float* out) {
    const int32_t done = run(&net, &work, strands, count, singleton, out, -1, nullptr);
    if (done < 0) return false;
    if (done == 1) return true;
    for (int32_t i = 0; i < count; i++)
        if (count == 1 || run(&net, &work, strands + i, 1, singleton, out + i, -1, nullptr) != 1) out[i] = NAN;
    return true;
}

}  // namespace

EXPORT int32_t legnet_abi(void) { return LEGNET_ABI; }

// 0: the form runs here; 1: it was not built, 2: the CPU lacks its instructions, 3: the system does not allow tiles.
EXPORT int32_t legnet_runs(int32_t form) {
    if (!form_of(form)) return NOT_BUILT;
    if (form == FORM_PORTABLE) return RUNS;
#if defined(__x86_64__)
    if (form == FORM_AVX512) return has_avx512() ? RUNS : CPU_LACKS;
#ifdef LEGNET_EMULATED  // its tiles are C++ (tests/data/emulated_amx.h)
    if (form == FORM_AMX) return has_avx512() ? RUNS : CPU_LACKS;
#endif
    if (!has_amx()) return CPU_LACKS;
#if defined(__linux__)
    const long ask_for_state = 0x1023, tile_data = 18;
    return syscall(SYS_arch_prctl, ask_for_state, tile_data) == 0 ? RUNS : SYSTEM_REFUSES;
#else
    return SYSTEM_REFUSES;
#endif
#else
    return CPU_LACKS;
#endif
}

EXPORT void legnet_work_free(Work* work) {
    if (work) free(work->memory);
    free(work);
}

// Buffers of one thread for networks of one shape; null without memory.
EXPORT Work* legnet_work(const Network* net) {
    Work* work = (Work*)calloc(1, sizeof(Work));
    if (!work) return nullptr;
    lay_out(*work, *net);
    const size_t huge = (size_t)2 << 20;
    work->bytes = (work->used + huge - 1) / huge * huge;
    work->memory = (char*)aligned_alloc(huge, work->bytes);
    if (!work->memory) {
        free(work);
        return nullptr;
    }
#if defined(__linux__)
    madvise(work->memory, work->bytes, MADV_HUGEPAGE);
#endif
    memset(work->memory, 0, work->bytes);
    work->used = 0;
    lay_out(*work, *net);
    return work;
}

// Windows first .. first + count - 1 with each network in turn. 0, or 1 where *stop became nonzero (checked between units), or 2
// for a code beyond 4.
EXPORT int32_t legnet_score(int32_t form, const Network* const* nets, int32_t n_nets, Work* work, const uint8_t* codes,
                            const int32_t* window, const int16_t* offset, const uint8_t* base, int64_t plain, int64_t first,
                            int32_t count, int32_t both, int32_t singleton, const volatile int32_t* stop, float* out) {
    const RunUnit run = form_of(form);
    const Batch batch = {codes, window, offset, base, plain};
    const int32_t sides = both ? 2 : 1, total = count * sides;
    for (int32_t m = 0; m < n_nets; m++) {
        const Network& net = *nets[m];
        float earlier = 0.0f;  // the forward strand of a window whose other strand falls into the next unit
        for (int32_t start = 0; start < total; start += net.unit) {
            if (*stop) return 1;
            const int32_t here = total - start < net.unit ? total - start : net.unit;
            Strand strands[MOST_STRANDS];
            float scores[MOST_STRANDS];
            for (int32_t i = 0; i < here; i++)
                strands[i] = batch.strand(first + (start + i) / sides, net.length, (start + i) % sides != 0);
            if (!run_strands(run, net, *work, strands, here, singleton, scores)) return 2;
            for (int32_t i = 0; i < here; i++) {
                const int32_t at = (start + i) / sides;
                if (sides == 1)
                    out[(int64_t)m * count + at] = scores[i];
                else if ((start + i) % 2 == 0)
                    earlier = scores[i];
                else
                    out[(int64_t)m * count + at] = (earlier + scores[i]) * 0.5f;
            }
        }
    }
    return 0;
}

// A generator's probabilities, out [count][4][length] in the order of its outputs, of x [count][channels][length]. 0, or 1 where *stop
// became nonzero, or 2 where an activation left the range of its format.
EXPORT int32_t legnet_bases(int32_t form, const Network* net, Work* work, const float* x, int32_t count, const volatile int32_t* stop,
                            float* out) {
    const RunUnit run = form_of(form);
    const size_t row_in = (size_t)net->channels * net->length, row_out = (size_t)4 * net->length;
    for (int32_t start = 0; start < count; start += net->unit) {
        if (*stop) return 1;
        const int32_t here = count - start < net->unit ? count - start : net->unit;
        Strand strands[MOST_STRANDS];
        for (int32_t i = 0; i < here; i++) strands[i] = Strand{nullptr, -1, 0, 0, x + (start + i) * row_in};
        if (run(net, work, strands, here, 0, out + start * row_out, -1, nullptr) != 1) return 2;
    }
    return 0;
}

// bf16 panels [panels][length][32] before block `depth` of one window's strand, z domain. 1, 0 beyond the range, -1 for a code
// beyond 4.
EXPORT int32_t legnet_activations(int32_t form, const Network* net, Work* work, const uint8_t* codes, int32_t reverse,
                                  int32_t singleton, int32_t depth, uint16_t* activations) {
    const Strand strand = {codes, -1, 0, (uint8_t)reverse, nullptr};
    return form_of(form)(net, work, &strand, 1, singleton, nullptr, depth, activations);
}

// Ticks of each stage since the last call (legnet.h), and forgets them.
EXPORT void legnet_stages(Work* work, uint64_t* ticks) {
    memcpy(ticks, work->ticks, sizeof work->ticks);
    memset(work->ticks, 0, sizeof work->ticks);
}

// FLOP a second of bare products in a form that runs here (rate.h), over about `seconds`.
EXPORT double legnet_rate(int32_t form, double seconds) {
#ifdef LEGNET_WITH_AMX
    if (form == FORM_AMX) return legnet_rate_amx(seconds);
#endif
#ifdef LEGNET_WITH_AVX512
    if (form == FORM_AVX512) return legnet_rate_avx512(seconds);
#endif
    return legnet_rate_portable(seconds);
}
