# SPDX-License-Identifier: Apache-2.0
"""Threads for what keeps a processor busy in the kernel."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

NICE = 10
"""Ten steps are a tenth of the weight: whoever asks the daemon something does not wait for reclaim.
What such a thread takes is the daemon's own part of the machine, so it is never without any."""


def workers(count: int, name: str) -> ThreadPoolExecutor:
    """`count` threads for work that nobody waits for. What they start is as nice (setpriority(2):
    in Linux for the one thread; a thread has that of the one that made it)."""
    return ThreadPoolExecutor(count, name, initializer=_give_way)


def _give_way() -> None:
    """Never less nice than the daemon is: that would need a capability."""
    own = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, own, max(NICE, os.getpriority(os.PRIO_PROCESS, own)))
