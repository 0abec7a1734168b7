"""Memory that stays flat: freed parts go back to the system at once.

A run allocates and frees arrays of several megabytes for every part. glibc answers the first such free by
raising its mmap threshold, after which freed parts stay in the heap and fragment it; Arrow's default pool
keeps freed pages too. Pinning the threshold and using the system pool keeps the peak low and flat;
`bench/memory.py` compares it with the allocator as it is. Only the command line does either: a library must
not touch its host's allocator.
"""

from __future__ import annotations

import os
import sys

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX = -3, -1, -8
THRESHOLD_BYTES = 1 << 16


def use_system_pool() -> None:
    """Let Arrow allocate from the system; to be called before pyarrow is imported. ARROW_DEFAULT_MEMORY_POOL,
    when the user has set it, is left alone."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def give_back_freed_parts() -> None:
    """Pin glibc's mmap threshold for this process. Not for PyTorch on a CPU, which allocates every activation
    anew: page faults then dominate a training step."""
    if sys.platform.startswith("linux"):
        import ctypes

        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # musl has none, and needs none: it never keeps large blocks
            libc.mallopt(M_MMAP_THRESHOLD, THRESHOLD_BYTES)


def trim() -> None:
    """Give freed memory back once, after something large was built: 6 % of what 50 compiled networks leave
    behind. Harmless to a host's allocator, which goes on as before."""
    if sys.platform.startswith("linux"):
        import ctypes

        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)


def keep_freed_parts() -> None:
    """The opposite, for training on a CPU: one arena that keeps what is freed, so that activations of tens of
    megabytes are not mapped and zeroed anew in every layer (an element-wise layer of 39 MB: 12 ms with page
    faults, 2 ms without)."""
    if sys.platform.startswith("linux"):
        import ctypes

        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            for option, value in (
                (M_ARENA_MAX, 1),
                (M_MMAP_THRESHOLD, 1 << 30),
                (M_TRIM_THRESHOLD, (1 << 31) - 1),
            ):
                libc.mallopt(option, value)
