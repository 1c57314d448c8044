#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For how long the kernel's own scheduler is in charge while agentcg's is loaded again. In the
guest, as root, under systemd.

    tests/vm/guest run --kernel backports -- python3 tests/bench/sched_gap.py

`cpu`: a CPU goes and comes, and the daemon loads it again. `kill`: SIGKILL of the daemon, which the
service manager starts again. `gone`: from SIGKILL until the kernel's own is there. Seconds of the
guest, looked at every 20 ms; of `--rounds` the median and the longest.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from agentcg.bpf.scheduler import loaded
from cgroup_support import until
from scheduler_support import PATIENCE_S, control, daemon_with, replug_a_cpu

LOOK_S = 0.02


def looked_for(name: str | None) -> float:
    """When that one is in charge."""
    while loaded() != name:
        time.sleep(LOOK_S)
    return time.monotonic()


def kill() -> None:
    """As an OOM killer or a bug would; the service manager starts another, at once each time."""
    subprocess.run(["systemctl", "kill", "--signal=KILL", "agentcgd"], check=True)


def gaps(end: Callable[[], None]) -> tuple[float, float]:
    """From `end` until it is out, and from then until it is loaded again."""
    begun = time.monotonic()
    end()
    out = looked_for(None)
    return out - begun, looked_for("agentcg") - out


def main() -> None:
    """Both, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {"cpu": [], "gone": [], "kill": []}
    with daemon_with("--bpf off --scheduler auto") as daemon:
        for _ in range(rounds):
            for name, end in (("cpu", replug_a_cpu), ("kill", kill)):
                until(lambda: control(daemon)["state"] == "enforced", PATIENCE_S)
                subprocess.run(["systemctl", "reset-failed", "agentcgd"], check=True)
                gone, again = gaps(end)
                found[name].append(again)
                if end is kill:
                    found["gone"].append(gone)
    for name, seconds in found.items():
        print(f"{name}: median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s")


if __name__ == "__main__":
    main()
