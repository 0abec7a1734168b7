// mode.h: how FP32 arithmetic rounds while a unit runs: to nearest even, subnormals flushed both ways, as AMX does by itself. FP16
// arithmetic keeps its subnormals whatever the mode.
//
// shapes, layout, bytes: none; it is a register of the CPU
// bound    two instructions a unit; the caller's mode is restored
// twin     the mode that is built into AMX tiles

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
