// epilogue.h: what becomes of a block of products: SiLU, stored as bf16 or FP16.
//
// shapes   a block is 32 rows x 32 outputs, FP32 [32][32], in the z domain; it becomes 32 rows of a panel
// layout   rows of a block and of a panel one after another
// range    `peak` keeps the largest bit pattern stored. Stored numbers are negative except for (0, 0.4], so that it is that of the
//          most negative one, and of NaN and infinity above all
// bytes    reads 4 KiB of sums in L1, writes 2 KiB
// bound    the SiLU's instructions: 22 for a row stored as bf16, 12 as FP16
// twin     numpy: z / (1 + 2**z), rounded
//
// AMX runs the rows of one block while the tiles work on the next; the others run them at once. The bits are the same.

struct Pending {
    const float* from;
    uint16_t* to;
    int32_t rows;
    U16 peak;
};

struct ToBf16 {
    static INLINE U16 row(const float* from, uint16_t* to) {
        const U16 bits = bf16_bits(silu(load(from)), silu(load(from + 16)));
        put(to, bits);
        return bits;
    }
};
struct ToHalf {
    static INLINE U16 row(const float* from, uint16_t* to) {
        const U16 bits = half_bits(half_silu(half_joined(load(from), load(from + 16))));
        put(to, bits);
        return bits;
    }
};

template <class E>
INLINE void work_off(Pending& pending, int32_t rows) {
    if (rows > pending.rows) rows = pending.rows;
    U16 peak = pending.peak;
    UNROLL(4)
    for (int32_t i = 0; i < rows; i++) peak = larger(peak, E::row(pending.from + i * 32, pending.to + i * 32));
    pending.peak = peak;
    pending.from += rows * 32;
    pending.to += rows * 32;
    pending.rows -= rows;
}
// Finishes what is pending; the largest bits stored since the last call.
template <class E>
INLINE int32_t finish(Pending& pending) {
    work_off<E>(pending, pending.rows);
    const int32_t most = largest(pending.peak);
    pending.peak = no_bits();
    return most;
}
