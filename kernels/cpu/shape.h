// shape.h: the shape of a network as it is sent, checked against what is covered, and what follows from it.
//
// shapes   14 numbers, then of each block width (and the last one's next), inner width, hidden width, rank and pool
// layout   the order of packed_shape in legscore/engine/native_pack.py
// bytes    60 and 20 for each block, once
// bound    none: it runs once a network
// twin     uncovered() in legscore/engine/native_pack.py, which says why; this one only refuses
//
// A unit is as many strands as fill 768 rows, so that a panel of it takes 49 KB at 150 bases.

static bool within(int32_t value, int32_t least, int32_t most) { return value >= least && value <= most; }

// The shape as sent: 14 numbers, then widths, inner widths, hidden widths, ranks and pools. False where it is not covered.
static bool read_shape(Network& net, const int32_t* shape, int32_t n) {
    if (n < 14) return false;
    int32_t* const fields[] = {&net.length, &net.n_blocks, &net.channels, &net.stem_kernel, &net.kernel, &net.per_group, &net.join,
                               &net.gate, &net.head, &net.outputs, &net.head_silu, &net.unknown_quarter, &net.reverse_channel,
                               &net.singleton_channel};
    for (int32_t i = 0; i < 14; i++) *fields[i] = shape[i];
    const int32_t blocks = net.n_blocks;
    if (!within(blocks, 1, MOST_BLOCKS) || n != 14 + 5 * blocks + 1) return false;
    if (!within(net.length, 8, 600) || !within(net.channels, 4, 8) || !within(net.stem_kernel, 1, 31) || !within(net.kernel, 1, 31))
        return false;
    if (net.stem_kernel % 2 == 0 || net.kernel % 2 == 0 || !within(net.per_group, 1, MOST_PER_GROUP)) return false;
    if (!within(net.join, 0, 3) || !within(net.gate, 0, 2) || !within(net.head, 0, 2) || !within(net.outputs, 1, 4096)) return false;
    if (!within(net.reverse_channel, -1, net.channels - 1) || !within(net.singleton_channel, -1, net.channels - 1)) return false;
    const int32_t *widths = shape + 14, *inner = widths + blocks + 1, *hidden = inner + blocks, *rank = hidden + blocks,
                  *pools = rank + blocks;
    net.gap = (net.kernel > net.stem_kernel ? net.kernel : net.stem_kernel) / 2;
    int32_t length = net.length;
    for (int32_t i = 0; i < blocks; i++) {
        Block& b = net.blocks[i];
        if (!within(widths[i], 1, 4096) || !within(widths[i + 1], 1, 4096) || !within(inner[i], 1, 8192)) return false;
        if (inner[i] % net.per_group || !within(pools[i], 1, 16) || !within(hidden[i], net.gate ? 1 : 0, 4096)) return false;
        if (!within(rank[i], net.gate == GATE_BILINEAR ? 1 : 0, 8192) || (net.gate == GATE_BILINEAR && hidden[i] < 2)) return false;
        b.length = length, b.pool = pools[i], b.width = widths[i], b.next = widths[i + 1], b.inner = inner[i];
        b.panels = panels_of(b.width), b.next_panels = panels_of(b.next);
        b.quads = panels_of(b.inner / net.per_group);
        b.hidden_width = hidden[i], b.rank = rank[i];
        length /= pools[i];
        if (length < 1) return false;
    }
    if (net.head == HEAD_BASES && (net.outputs != 4 || length != net.length)) return false;
    net.last_length = length, net.last_width = widths[blocks], net.last_panels = panels_of(net.last_width);
    const int32_t fitting = 768 / (net.length + net.gap);
    net.unit = fitting < 1 ? 1 : fitting > MOST_STRANDS ? MOST_STRANDS : fitting;
    return true;
}
