"""How this process takes memory from the system."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Have the C library keep freed tensors for the next ones instead of returning their pages.

    Hidden states of several tasks are larger than the 32 MiB from which glibc maps fresh pages for
    every tensor; clearing those takes longer than computing what they hold. Other C libraries stay
    as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
