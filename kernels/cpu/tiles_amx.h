// tiles_amx.h: blocks of products with AMX tiles.
//
// shapes   a block is 2 x 2 tiles: tiles 0-3 hold its sums (FP32 [16][16] each), 4 and 5 the rows (bf16 [16][32]), 6 and 7 the
//          weights (bf16 pairs [16][16][2])
// layout   rows of A are `ROW` numbers apart, so that a tile of a panel is 1 KiB in one piece; a tap is a shift by one row
// order    the accumulators are loaded with the next block's bias (stride 0) as they are stored; the rows of the block before are
//          worked off between the steps, so that vectors and tiles run at once; the next weights are fetched into L2
// bytes    a step loads 2 KiB of rows (from L1 or L2) and 2 KiB of weights, a block stores 4 KiB
// bound    tile products: 16 cycles each; a block ends with 90-130 ticks of stores
// twin     tiles_plain.h, equal bit for bit; on CPUs without tiles this text runs over those of tests/data/emulated_amx.h

struct TileConfig {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
INLINE void tiles_open() {
    alignas(64) TileConfig config;
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = 16;
    _tile_loadconfig(&config);
}
INLINE void tiles_close() { _tile_release(); }

INLINE void tiles_begin(const float* bias) {
    _tile_loadd(0, bias, 0);
    _tile_loadd(1, bias + 16, 0);
    _tile_loadd(2, bias, 0);
    _tile_loadd(3, bias + 16, 0);
}

// One block; the accumulators hold its bias already.
template <class E, int ROW>
INLINE void tile_block(Pending& pending, Work& work, const uint16_t* a, size_t panel_stride, int32_t panels, int32_t taps, int32_t tap,
                       const uint16_t* b, const float*, const float* next_bias, uint16_t* to) {
    const int32_t steps = panels * taps, rows = (32 + steps - 1) / steps, every = steps > 32 ? steps / 32 : 1;
    int32_t since = 0;
    for (int32_t p = 0; p < panels; p++, a += panel_stride) {
        const uint16_t* at = a;
#pragma GCC unroll 1
        for (int32_t t = 0; t < taps; t++, at += tap, b += 1024) {
            _tile_loadd(4, at, ROW * 2);
            _tile_loadd(6, b, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b + 512, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, at + 16 * ROW, ROW * 2);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            if (work.ahead < work.ahead_end) {
                _mm_prefetch(work.ahead, _MM_HINT_T1);
                _mm_prefetch(work.ahead + 64, _MM_HINT_T1);
                work.ahead += 128;
            }
            if (++since == every) {
                since = 0;
                work_off<E>(pending, rows);
            }
        }
    }
    work_off<E>(pending, pending.rows);
    float* block = work.scratch;  // whose rows have all been worked off
    _tile_stored(0, block, 128);
    _tile_loadd(0, next_bias, 0);
    _tile_stored(1, block + 16, 128);
    _tile_loadd(1, next_bias + 16, 0);
    _tile_stored(2, block + 512, 128);
    _tile_loadd(2, next_bias, 0);
    _tile_stored(3, block + 528, 128);
    _tile_loadd(3, next_bias + 16, 0);
    pending.from = block;
    pending.to = to;
    pending.rows = 32;
}
// The sums of one block alone, into work.scratch.
template <int ROW>
INLINE void tile_sums(Work& work, const uint16_t* a, size_t panel_stride, int32_t panels, const uint16_t* b, const float* bias) {
    tiles_begin(bias);
    for (int32_t p = 0; p < panels; p++, a += panel_stride, b += 1024) {
        _tile_loadd(4, a, ROW * 2);
        _tile_loadd(6, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + 512, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + 16 * ROW, ROW * 2);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, work.scratch, 128);
    _tile_stored(1, work.scratch + 16, 128);
    _tile_stored(2, work.scratch + 512, 128);
    _tile_stored(3, work.scratch + 528, 128);
}

// What rate.h times: products of what lies in the tiles.
static void four_products(const uint16_t* numbers, float* block, int32_t times) {
    tiles_begin(block);
    _tile_loadd(4, numbers, 64);
    _tile_loadd(5, numbers + 512, 64);
    _tile_loadd(6, numbers + 1024, 64);
    _tile_loadd(7, numbers + 1536, 64);
    for (int32_t i = 0; i < times; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, block, 128);
}
