"""Keep freed memory in the process on glibc.

glibc gives large buffers back to the system as soon as they are freed and faults them in again page
by page; a training step on a CPU spends up to a third of its time there.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MMAP_MAX = 32 * 1024 * 1024  # the largest threshold that glibc accepts


def keep_freed_memory() -> None:
    """Serve large buffers from the heap and never trim it. Does nothing where there is no glibc."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_MAX)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
