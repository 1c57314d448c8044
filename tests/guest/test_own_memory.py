# SPDX-License-Identifier: Apache-2.0
"""The daemon's own memory, which is locked."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import re, threading
from agentcg.daemon import memory
def resident_kib():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
def use():
    small = [b"x" * n for n in range(60_000, 61_000)]
    large = [b"x" * (n << 20) for n in (9, 8, 7)]
memory.use_one_heap()
memory.keep()
before = resident_kib()
for _ in range(3):
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
print(resident_kib() - before)
"""
LEFT_KIB = 4 << 10  # of 60 MiB and more that each thread used


def test_what_a_thread_used_is_given_back() -> None:
    """Small pieces and large ones, although no page may be swapped out."""
    done = subprocess.run(
        ["prlimit", "--memlock=unlimited", sys.executable, "-c", CODE],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert int(done.stdout) < LEFT_KIB
