// numbers.h: single numbers of the three formats, in integers, for packing and for what is done once a unit.
//
// bf16: the high half of an FP32, rounded to nearest even, FP32 subnormals to zero (as VCVTNE2PS2BF16 does).
// FP16: IEEE, rounded to nearest even, subnormals kept.
//
// shapes   one number at a time
// layout   bits in the low end of an integer
// bytes    2 for 4, and back
// bound    some 5 integer instructions; not on the scoring path but for a generator's input
// twin     the vectors of each form; emulated_amx.h in tests/data has both conversions once more
#ifndef LEGNET_NUMBERS_H
#define LEGNET_NUMBERS_H
#include <stdint.h>
#include <string.h>

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}
static inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static inline float from_bf16(uint16_t bits) { return float_of((uint32_t)bits << 16); }
static inline uint16_t to_bf16(float value) {
    const uint32_t bits = bits_of(value), size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    if (size < 0x00800000u) return (uint16_t)(bits >> 16 & 0x8000u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
static inline float from_half(uint16_t bits) {
    const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, size = bits & 0x7fffu;
    if (size >= 0x7c00u) return float_of(sign | ((size << 13) + 0x70000000u));
    if (size >= 0x0400u) return float_of(sign | ((size << 13) + 0x38000000u));
    return float_of(sign | bits_of((float)size * 0x1p-24f));
}
static inline uint16_t to_half(float value) {
    const uint32_t bits = bits_of(value), size = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
    if (size > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (size >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (size < 0x38800000u) {  // a multiple of 2^-24
        const float shifted = float_of(size) + 0.5f;
        return (uint16_t)(sign | (uint32_t)((shifted - 0.5f) * 0x1p24f));
    }
    return (uint16_t)(sign | ((size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13));
}
#endif
