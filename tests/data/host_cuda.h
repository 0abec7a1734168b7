// Lets g++ compile kernels/*.cu as they are and run them on the CPU, one thread after another.
// Enough for kernels without barriers, shuffles and shared memory, which is all that kernels/ holds.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline

struct HostIndex {
    unsigned x, y, z;
};
static thread_local HostIndex threadIdx, blockIdx, blockDim, gridDim;

// As cuLaunchKernel does, arguments come as pointers to their values.
template <typename... P, size_t... I>
static void run_on_host(void (*kernel)(P...), unsigned grid, unsigned block, void** arguments, std::index_sequence<I...>) {
    gridDim = {grid, 1, 1};
    blockDim = {block, 1, 1};
    for (unsigned b = 0; b < grid; ++b) {
        for (unsigned t = 0; t < block; ++t) {
            blockIdx = {b, 0, 0};
            threadIdx = {t, 0, 0};
            kernel(*static_cast<P*>(arguments[I])...);
        }
    }
}

template <typename... P>
static void run_on_host(void (*kernel)(P...), unsigned grid, unsigned block, void** arguments) {
    run_on_host(kernel, grid, block, arguments, std::index_sequence_for<P...>{});
}

#define HOST_KERNEL(name) \
    extern "C" void host_##name(unsigned grid, unsigned block, void** arguments) { run_on_host(name, grid, block, arguments); }
