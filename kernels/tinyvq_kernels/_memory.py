"""Keep freed memory, so that the next step need not ask the system for it again.

A training step allocates and frees the same few dozen large arrays. Left alone, the C
library hands large ones back to the system, and each new one then costs a page fault
every 4 KiB: thousands a step, a fifth of its time where it was measured. Told to keep
what is freed, it finds the same memory again, warm. And told to serve all threads from
one heap, it finds it whichever thread asks.
"""

import ctypes
import sys

# Of glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -3, -4, -8


def keep_freed_memory() -> bool:
    """Tell glibc to keep up to 1 GiB; return whether there is a glibc to tell.

    For the whole process, whatever allocates. What it holds at its peak is the same.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    # Before glibc 2.35 no threshold may be above 32 MiB: there, nothing is mapped.
    kept = mallopt(MMAP_THRESHOLD, 1 << 30) or mallopt(MMAP_MAX, 0)
    told = [kept, mallopt(TRIM_THRESHOLD, 1 << 30), mallopt(ARENA_MAX, 1)]
    return all(told)
