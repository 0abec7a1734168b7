// mutate.cu: windows and single-base edits -> the codes that are scored.
//
// shapes   codes_WL uint8 [plain, length]; edits window_E int32, offset_E int16, base_E uint8
//          out      uint8 [count, length]: scored windows start..start+count-1, where window i is row i of codes_WL for
//                   i < plain, and beyond that row window_E[i - plain] with base_E[i - plain] at offset_E[i - plain]
// layout   rows one after another
// launch   one thread for each base of out: blocks of 256, ceil(count * length / 256) of them
// bytes    reads and writes count * length, plus 7 for each edit (from cache within a row)
// bound    memory; a twelfth of what one_hot writes. count * length must be below 2^31 (the caller checks).
// twin     legscore/dna/batch.py, Batch.expand(): equal byte for byte
//
// No barriers, no shuffles: run one thread after another on a host, it gives the same bytes.

extern "C" __global__ void mutate(const unsigned char* codes_WL, const int* window_E, const short* offset_E,
                                  const unsigned char* base_E, unsigned char* out, unsigned plain, unsigned length, unsigned start,
                                  unsigned count) {
    const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count * length) return;
    const unsigned row = index / length, at = index - row * length, scored = start + row;
    if (scored < plain) {
        out[index] = codes_WL[(size_t)scored * length + at];
        return;
    }
    const unsigned edit = scored - plain;
    out[index] = (int)at == offset_E[edit] ? base_E[edit] : codes_WL[(size_t)window_E[edit] * length + at];
}
