# SPDX-License-Identifier: Apache-2.0
"""What tests of the scheduler share: another process that holds it, a CPU that goes and comes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from agentcg.bpf.scheduler import SCHED_EXT, loaded
from cgroup_support import until

THERE = SCHED_EXT.is_dir()
PATIENCE_S = 300.0  # the guest is emulated; only ever spent by a failure
SECOND_CPU = Path("/sys/devices/system/cpu/cpu1/online")
HOLD = "import time; from agentcg.bpf.scheduler import Scheduler; s = Scheduler.open(); "


@contextlib.contextmanager
def holder(then: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Another process that loads the scheduler, does `then`, and holds it until it is killed."""
    code = f"{HOLD}{then}time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        try:
            until(lambda: loaded() == "agentcg" or child.poll() is not None, PATIENCE_S)
            yield child
        finally:
            child.kill()


def replug_a_cpu() -> None:
    for state in "01":
        SECOND_CPU.write_text(state)
