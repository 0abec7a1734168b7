// driver.h: one unit of strands through a whole network; the page that shows it whole.
//
// shapes   strands [count] -> scores [count]; everything between lies in Work
// layout   panels, as in legnet.h; x and f(x) side by side, so that the mixing convolution reads both as one input
// order    stem; each block: expand and grouped convolution quad by quad, squeeze, gate and project 32 rows at a time, mix, pool; head
// range    1 where every activation stayed in the range of its format, else 0, and the scores are void: bf16 below 2^64 (so that
//          no FP32 sum can overflow), FP16 in the expanded rows, and sums of the grouped convolution below 60,000
// bytes    a panel of a unit takes 49 KB at 150 bases; a unit runs block by block, so that one block of weights is in use at a time
// bound    tile products; for the original network 0.47 GFLOP a strand
// twin     legscore/model/graph.py

static const int32_t BF16_MOST = 0xdf80;  // -2^64
static const float GROUP_MOST = 60000.0f;

INLINE uint64_t ticks_now() {
#if defined(__x86_64__)
    return __rdtsc();
#else
    return 0;
#endif
}

struct Unit {
    const Network& net;
    Work& work;
    Pending pending;
    uint64_t since;
};
INLINE void stage_ends(Unit& unit, int32_t stage) {
    const uint64_t now = ticks_now();
    unit.work.ticks[stage] += now - unit.since;
    unit.since = now;
}
INLINE void fetch(Work& work, const void* from, size_t bytes) {
    work.ahead = (const char*)from;
    work.ahead_end = work.ahead + bytes;
}

// All rows times one panel of outputs.
template <class E, int ROW>
static NOINLINE void product_column(Unit& unit, const uint16_t* a, size_t panel_stride, int32_t panels, int32_t taps, int32_t tap,
                                    const Product& product, int32_t column, uint16_t* to, int32_t rows) {
    const uint16_t* weights = product.weights + (size_t)column * product.steps * 1024;
    const float* bias = product.bias + column * 32;
    tiles_begin(bias);
    for (int32_t m = 0; m < rows; m += 32)
        tile_block<E, ROW>(unit.pending, unit.work, a + (size_t)m * ROW, panel_stride, panels, taps, tap, weights, bias, bias,
                           to + (size_t)m * 32);
}

static bool stem(Unit& unit, uint16_t* x, const Rows& rows) {
    const Network& net = unit.net;
    const size_t panel = (size_t)rows.all * 32;
    const uint16_t* input = unit.work.input + (rows.gap - net.stem_kernel / 2) * 8;
    for (int32_t q = 0; q < net.stem.columns; q++)
        product_column<ToBf16, 8>(unit, input, 0, 1, net.stem.steps, 32, net.stem, q, x + q * panel + rows.gap * 32, rows.computed);
    const bool fits = finish<ToBf16>(unit.pending) < BF16_MOST;
    for (int32_t q = 0; q < net.stem.columns; q++) clear_gaps(x + q * panel, rows);
    stage_ends(unit, STAGE_STEM);
    return fits;
}

static bool spread_and_group(Unit& unit, const Block& block, const uint16_t* x, const Rows& rows) {
    const Network& net = unit.net;
    Work& work = unit.work;
    const size_t panel = (size_t)rows.all * 32;
    const int32_t g = net.per_group;
    for (int32_t quad = 0; quad < block.quads; quad++) {
        if (quad == 0 && net.gate != GATE_NONE)
            fetch(work, block.squeeze.half, (const char*)(block.excite.bias) - (const char*)block.squeeze.half);
        else if (quad == (block.quads + 1) / 2)
            fetch(work, block.project.weights, (size_t)block.project.columns * block.project.steps * 2048);
        for (int32_t i = 0; i < g; i++)
            product_column<ToHalf, 32>(unit, x + rows.gap * 32, panel, block.panels, 1, 0, block.expand, quad * g + i,
                                       work.spread + i * panel + rows.gap * 32, rows.computed);
        const int32_t most = finish<ToHalf>(unit.pending);
        const float largest_read = most >= 0x8000 ? from_half((uint16_t)(most & 0x7fff)) : 0.5f;
        if (most >= 0xfc00 || !(largest_read * block.taps_reach[quad] + block.taps_bias_most[quad] <= GROUP_MOST)) return false;
        for (int32_t i = 0; i < g; i++) clear_gaps(work.spread + i * panel, rows);
        stage_ends(unit, STAGE_EXPAND);
        uint16_t* inner = work.inner + (size_t)quad * g * panel;
        group_quad(net, block, quad, work.spread, inner, rows, work.mean + quad * g * 32, work.mean_stride);
        for (int32_t i = 0; i < g; i++) clear_gaps(inner + i * panel, rows);
        stage_ends(unit, STAGE_GROUP);
    }
    return true;
}

static bool gate_and_project(Unit& unit, const Block& block, uint16_t* fx, const Rows& rows) {
    const Network& net = unit.net;
    Work& work = unit.work;
    const size_t panel = (size_t)rows.all * 32;
    const int32_t inner = block.quads * net.per_group, columns = block.project.columns;
    fetch(work, block.mix.weights, (size_t)block.mix.steps * 2048);
    tiles_begin(block.project.bias);
    for (int32_t m = 0; m < rows.computed; m += 32) {
        for (int32_t q = 0; q < inner; q++)
            gate_rows(work.inner + q * panel + (size_t)(rows.gap + m) * 32, work.gated + q * 1024, work.gate + q * 32,
                      work.mean_stride, m, rows);
        stage_ends(unit, STAGE_GATE);
        for (int32_t q = 0; q < columns; q++)
            tile_block<ToBf16, 32>(unit.pending, work, work.gated, 1024, inner, 1, 0,
                                   block.project.weights + (size_t)q * block.project.steps * 1024, block.project.bias + q * 32,
                                   block.project.bias + (q + 1 == columns ? 0 : q + 1) * 32,
                                   fx + q * panel + (size_t)(rows.gap + m) * 32);
        stage_ends(unit, STAGE_PROJECT);
    }
    const bool fits = finish<ToBf16>(unit.pending) < BF16_MOST;
    for (int32_t q = 0; q < columns; q++) clear_gaps(fx + q * panel, rows);
    stage_ends(unit, STAGE_PROJECT);
    return fits;
}

static bool mix(Unit& unit, int32_t i, uint16_t* both, uint16_t* x, uint16_t* fx, uint16_t* next, const Rows& rows) {
    const Network& net = unit.net;
    const Block& block = net.blocks[i];
    const size_t panel = (size_t)rows.all * 32;
    const uint16_t* from = net.join == JOIN_NONE ? fx : net.join == JOIN_ADD ? x : both;
    const int32_t panels = block.panels * (net.join >= JOIN_X_FX ? 2 : 1);
    if (net.join == JOIN_ADD) add_rows(x, fx, panel * block.panels);
    for (int32_t q = 0; q < block.next_panels; q++) {
        if (q + 1 < block.next_panels)
            fetch(unit.work, block.mix.weights + (size_t)(q + 1) * block.mix.steps * 1024, (size_t)block.mix.steps * 2048);
        else if (i + 1 < net.n_blocks)
            fetch(unit.work, net.blocks[i + 1].expand.weights,
                  (size_t)net.blocks[i + 1].expand.columns * net.blocks[i + 1].expand.steps * 2048);
        product_column<ToBf16, 32>(unit, from + (rows.gap - net.kernel / 2) * 32, panel, panels, net.kernel, 32, block.mix, q,
                                   next + q * panel + rows.gap * 32, rows.computed);
    }
    const bool fits = finish<ToBf16>(unit.pending) < BF16_MOST;
    for (int32_t q = 0; q < block.next_panels; q++) clear_gaps(next + q * panel, rows);
    stage_ends(unit, STAGE_MIX);
    return fits;
}

// The bf16 panels of the first strand, for tests and for the check of packed weights.
static void copy_out(const uint16_t* x, int32_t panels, const Rows& rows, uint16_t* to) {
    for (int32_t p = 0; p < panels; p++)
        memcpy(to + (size_t)p * rows.length * 32, x + ((size_t)p * rows.all + rows.gap) * 32, (size_t)rows.length * 64);
}

static int32_t run_unit(const Network& net, Work& work, const Strand* strands, int32_t count, int32_t singleton, float* out,
                        int32_t depth, uint16_t* activations) {
    Unit unit = {net, work, {work.scratch, nullptr, 0, no_bits()}, ticks_now()};
    Rows rows = rows_of(net, count, net.length);
    if (!encode(net, work.input, strands, rows, singleton)) return -1;
    stage_ends(unit, STAGE_ENCODE);
    const bool fx_first = net.join == JOIN_FX_X;
    int32_t side = 0, panels = net.blocks[0].panels;
    uint16_t* x = work.x[side] + (fx_first ? (size_t)panels * rows.all * 32 : 0);
    if (!stem(unit, x, rows)) return 0;
    for (int32_t i = 0; i < net.n_blocks && i != depth; i++) {
        const Block& block = net.blocks[i];
        const size_t panel = (size_t)rows.all * 32;
        uint16_t* fx = work.x[side] + (fx_first ? 0 : panels * panel);
        if (!spread_and_group(unit, block, x, rows)) return 0;
        const bool finite = squeeze(net, block, work, count);
        stage_ends(unit, STAGE_SQUEEZE);
        if (!finite || !gate_and_project(unit, block, fx, rows)) return 0;
        const Rows after = rows_of(net, count, rows.length / block.pool);
        const size_t ahead = fx_first && i + 1 < net.n_blocks ? (size_t)block.next_panels * after.all * 32 : 0;
        uint16_t* next = work.x[side ^ 1] + ahead;
        uint16_t* mixed = block.pool == 1 ? next : work.inner;  // whose rows are no longer needed
        if (!mix(unit, i, work.x[side], x, fx, mixed, rows)) return 0;
        if (block.pool > 1)
            for (int32_t q = 0; q < block.next_panels; q++)
                pool_rows(mixed + q * panel, rows, next + (size_t)q * after.all * 32, after, block.pool);
        stage_ends(unit, STAGE_MIX);
        side ^= 1, x = next, rows = after, panels = block.next_panels;
    }
    if (depth >= 0) {
        copy_out(x, panels, rows, activations);
        return 1;
    }
    const bool finite = head(net, work, x, rows, out);
    stage_ends(unit, STAGE_HEAD);
    return finite;
}

