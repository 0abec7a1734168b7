// mode.h: how FP32 arithmetic is to round while a unit runs: to nearest even, subnormals flushed both ways, as AMX does by itself.
// twin of the tiles' own mode; FP16 arithmetic keeps its subnormals whatever the mode.

#if defined(__x86_64__)
struct Mode {
    unsigned before;
    INLINE Mode() : before(_mm_getcsr()) { _mm_setcsr(0x9fc0u); }  // all exceptions masked, DAZ, FTZ, nearest
    INLINE ~Mode() { _mm_setcsr(before); }
};
#else
struct Mode {
    INLINE Mode() {}
};
#endif
