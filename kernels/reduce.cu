// reduce.cu: scores of the rows of a pass -> scores of windows, strands averaged.
//
// shapes   rows_MB   FP32 [members, batch]: what each member gave for the rows of a pass (forward strands, reverse, tail)
//          scores_MN FP32 [members, columns]: columns start..start+windows-1 are written
// layout   members outermost in both; they go back to the host, at most 50 * 4 bytes a window
// launch   one thread for each member and window: blocks of 256, ceil(members * windows / 256) of them
// bytes    reads 8 (4 without the second strand), writes 4, for each member and window
// bound    memory, and the launch: a pass of 2,048 windows and 50 members moves 1.2 MB
// twin     legscore/engine/base.py, ThreadedEngine.average(): equal bit for bit (FP32 sum, then times 0.5, which is exact)
//
// No barriers, no shuffles: run one thread after another on a host, it gives the same bits. NaN and infinity pass on; rows
// get the status nonfinite from them later.

extern "C" __global__ void average_strands(const float* rows_MB, float* scores_MN, unsigned members, unsigned batch,
                                           unsigned windows, unsigned both, unsigned columns, unsigned start) {
    const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= members * windows) return;
    const unsigned member = index / windows, window = index - member * windows;
    const float* row = rows_MB + (size_t)member * batch + window;
    scores_MN[(size_t)member * columns + start + window] = both ? (row[0] + row[windows]) * 0.5f : row[0];
}
