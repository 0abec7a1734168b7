// rows.h: what is done to rows between the products: strands encoded, gaps cleared, the gate, the residual sum, pooling.
//
// encode     codes -> bf16 [row][8]: four bases, the extra channels, zeros; 0.25 (or 0) in each base channel at an N; a generator's
//            input is rounded to bf16
// gate_rows  32 rows of a panel, FP16 times the strand's gate -> bf16
// add_rows   x += f(x), bf16, rounded once
// pool_rows  the largest of `pool` neighbours; in the z domain the least
//
// shapes     codes [length] of each strand, or a generator's input [channels][length]; panels [row][32]
// layout     panels, as in legnet.h; of the stem's input [row][8]
// bytes      64 read and 64 written for each row of a panel; add_rows reads 128
// bound      memory in L1 or L2
// twin       legscore/dna/one_hot.py; numpy

INLINE Rows rows_of(const Network& net, int32_t strands, int32_t length) {
    const int32_t step = length + net.gap, computed = (strands * step + 31) / 32 * 32, whole = (net.unit * step + 31) / 32 * 32;
    return Rows{strands, length, step, net.gap, computed, whole + 2 * net.gap + 2};
}
static void clear_gaps(uint16_t* panel, const Rows& rows) {
    const U16 nothing = no_bits();
    for (int32_t s = 0; s <= rows.strands; s++)
        for (int32_t r = 0; r < rows.gap; r++) put(panel + ((size_t)s * rows.step + r) * 32, nothing);
    for (int32_t r = rows.gap + rows.strands * rows.step; r < rows.all; r++) put(panel + (size_t)r * 32, nothing);
}
static bool encode(const Network& net, uint16_t* input, const Strand* strands, const Rows& rows, int32_t singleton) {
    const uint16_t one = 0x3f80, unknown = net.unknown_quarter ? 0x3e80 : 0;
    memset(input, 0, (size_t)(rows.all + 64) * 16);
    for (int32_t s = 0; s < rows.strands; s++) {
        const Strand& strand = strands[s];
        if (strand.values) {
            for (int32_t c = 0; c < net.channels; c++)
                for (int32_t i = 0; i < rows.length; i++)
                    input[(size_t)(rows.gap + s * rows.step + i) * 8 + c] = to_bf16(strand.values[c * rows.length + i]);
            continue;
        }
        for (int32_t i = 0; i < rows.length; i++) {
            const int32_t at = strand.reverse ? rows.length - 1 - i : i;
            uint8_t code = at == strand.offset ? strand.base : strand.codes[at];
            if (code > 4) return false;
            uint16_t* row = input + (size_t)(rows.gap + s * rows.step + i) * 8;
            if (code == 4)
                row[0] = row[1] = row[2] = row[3] = unknown;
            else
                row[strand.reverse ? 3 - code : code] = one;
            if (net.reverse_channel >= 0 && strand.reverse) row[net.reverse_channel] = one;
            if (net.singleton_channel >= 0 && singleton) row[net.singleton_channel] = one;
        }
    }
    return true;
}
INLINE void gate_rows(const uint16_t* from, uint16_t* to, const float* gate, size_t gate_stride, int32_t row, const Rows& rows) {
    for (int32_t i = 0; i < 32;) {
        int32_t strand = (row + i) / rows.step, end = (strand + 1) * rows.step - row;
        if (strand >= rows.strands) strand = rows.strands - 1, end = 32;
        if (end > 32) end = 32;
        const F low = load(gate + strand * gate_stride), high = load(gate + strand * gate_stride + 16);
        UNROLL(4)
        for (; i < end; i++) put(to + i * 32, bf16_bits(half_values(from + i * 32) * low, half_values(from + i * 32 + 16) * high));
    }
}
static void add_rows(uint16_t* x, const uint16_t* fx, size_t n) {
    for (size_t i = 0; i < n; i += 32)
        put(x + i, bf16_bits(bf16_values(x + i) + bf16_values(fx + i), bf16_values(x + i + 16) + bf16_values(fx + i + 16)));
}
static void pool_rows(const uint16_t* from, const Rows& before, uint16_t* to, const Rows& after, int32_t pool) {
    for (int32_t s = 0; s < before.strands; s++)
        for (int32_t i = 0; i < after.length; i++) {
            const uint16_t* at = from + (size_t)(before.gap + s * before.step + i * pool) * 32;
            F low = bf16_values(at), high = bf16_values(at + 16);
            for (int32_t k = 1; k < pool; k++) {
                low = lesser(low, bf16_values(at + k * 32));
                high = lesser(high, bf16_values(at + k * 32 + 16));
            }
            put(to + (size_t)(after.gap + s * after.step + i) * 32, bf16_bits(low, high));
        }
    clear_gaps(to, after);
}
