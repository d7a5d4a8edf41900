"""Settings of the C library's memory allocator."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Make glibc reuse freed memory instead of returning it to the system.

    Above 32 MiB, which hidden states of several tasks exceed, glibc maps new pages for every
    tensor, and clearing them takes longer than computing the tensor. Other C libraries are not
    affected.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
