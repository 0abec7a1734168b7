// rate.h: the bare rate of products, without loads from memory beyond L1: the limit that a network is measured against.
//
// shapes   2 x 2 tiles of 16 rows, 32 inputs, 16 outputs, random bf16 of either sign; FLOP a second by the clock, so that a
//          machine that is not idle shows as a rate that swings
// layout   as in tiles_amx.h
// bytes    8 KiB of numbers and 4 KiB of sums, in L1
// bound    products alone, which is what it measures
// twin     none: a clock

static double seconds_now() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
static void four_products(const uint16_t* numbers, float* block, int32_t times);

static double bare_rate(double seconds) {
    alignas(64) static thread_local uint16_t numbers[4096];
    alignas(64) static thread_local float block[1024];
    uint32_t state = 12345;
    for (int32_t i = 0; i < 4096; i++) {
        state = state * 1664525u + 1013904223u;
        numbers[i] = to_bf16((float)(int32_t)(state >> 8) * 0x1p-23f - 1.0f);
    }
    memset(block, 0, sizeof block);
    const int32_t times = 256;
    double done = 0.0, taken = 0.0;
    const double began = seconds_now();
    do {
        four_products(numbers, block, times);
        done += times * 4.0 * 16384.0;
        taken = seconds_now() - began;
    } while (taken < seconds);
    return done / taken;
}
