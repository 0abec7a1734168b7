// silu.h: SiLU and sigmoid on vectors, written once for all forms.
//
// silu, half_silu  z -> z / (1 + 2^z) by tables.h. NaN and z = -infinity stay what they are; z = +infinity (x far below zero) gives
//                  about 0, which is right unless z itself came of an overflow: callers guard against that (rows.h, group.h).
// sigmoid          x -> 1 / (1 + 2^(-log2(e) x)), degree 5, 2e-7, at least 2^-40; the true domain
// shapes, layout   one vector: 16 FP32 or 32 FP16 numbers
// bytes            none: numbers and tables stay in registers
// bound            11 instructions for 16 numbers, 8 for 32 in FP16
// twin             numpy: z / (1 + 2**z)

static const float MINUS_LOG2_E = -1.4426950408889634f;

INLINE F silu(F z) {
    const F v = lesser(magnitude(z) + splat(1.0f), splat(15.999f));
    const F g = fused(fused(look_up(SILU_2, v), v, look_up(SILU_1, v)), v, look_up(SILU_0, v));
    return lesser(splat(0.0f), z) + g;
}
INLINE H half_silu(H z) {
    const H v = half_lesser(half_sum(half_magnitude(z), half_splat(1.0f)), half_splat(15.9921875f));
    return half_sum(half_lesser(half_splat(0.0f), z), half_fused(half_slope(v), v, half_start(v)));
}
INLINE F sigmoid(F x) {
    const F z = greater(splat(-40.0f), lesser(splat(40.0f), x * splat(MINUS_LOG2_E))), whole = whole_below(z), r = z - whole;
    F p = fused(r, splat(0.00189375f), splat(0.00894959f));
    p = fused(p, r, splat(0.05586034f));
    p = fused(p, r, splat(0.24014182f));
    p = fused(p, r, splat(0.69315449f));
    p = fused(p, r, splat(0.9999999f));
    return splat(1.0f) / (p * power_of_two(whole) + splat(1.0f));
}
