# SPDX-License-Identifier: Apache-2.0
"""The daemon's own memory: little of it, and none of it swapped out."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import resource
from contextlib import suppress

# sys/mman.h
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
# malloc.h
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
_OWN_MAPPING_BYTES = 128 << 10  # malloc's own threshold, until it has grown

log = logging.getLogger("agentcg")


def use_one_heap() -> None:
    """Have malloc give back what is freed, although it is locked (mallopt(3)); before threads.

    Each thread's heap is given back by MADV_DONTNEED, which refuses locked pages; the first one's
    by brk(2), and a mapping by munmap(2), which do not. Large pieces get a mapping of their own
    only for as long as that threshold does not grow, which it does unless it is set. Loading the
    scheduler reads the kernel's types several times: 12 MiB that stayed.
    """
    with suppress(AttributeError):  # glibc has it, musl has not
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)


def settle() -> None:
    """What was loaded by now stays: the collector need not look at it again and again. What
    loading it took goes back to the kernel."""
    gc.collect()
    gc.freeze()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep() -> None:
    """Whatever page we have touched stays: who is to help when memory is short must not wait for
    its own. Only where there is no bound on that (LimitMEMLOCK= of the unit), since at a bound
    the next allocation fails (mlockall(2)); a child has nothing of it."""
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        log.warning("memory of the daemon may be swapped out: %s", os.strerror(ctypes.get_errno()))
