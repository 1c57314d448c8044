# SPDX-License-Identifier: Apache-2.0
"""Whether a task that wants to run for a moment is kept waiting: witnesses, and probes.

    python stalls.py witness CLOCK CPU        a real-time task of one CPU
    python stalls.py probe CLOCK [CPU]        a normal task, of one CPU or of any

Both sleep for `PACE_S` again and again. A witness, which no scheduler of normal tasks holds up,
counts its rounds in the file CLOCK: that is the time for which its CPU was there at all. A probe
counts by it how long it overslept. So a CPU of a guest that the host does not run for a second is
not taken for a scheduler that lets a task wait for a second.

A probe prints "begun" and, once CLOCK says that it is over, its rounds and the longest that it
overslept: in rounds of the witness, and in ms of the clock on the wall.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from pathlib import Path

PACE_S = 0.02
CPUS_MAX = 64
OVER = CPUS_MAX  # behind the rounds of each CPU: not 0 when all is over


def make(clock: Path) -> memoryview:
    """A new CLOCK, mapped."""
    clock.write_bytes(bytes(8 * (CPUS_MAX + 1)))
    return opened(clock)


def opened(clock: Path) -> memoryview:
    """The rounds of each CPU, then `OVER`; shared with all who have it."""
    with clock.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")


def witness(rounds: memoryview, cpu: int) -> None:
    """Count."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(90))
    while not rounds[OVER]:
        time.sleep(PACE_S)
        rounds[cpu] += 1


def probe(rounds: memoryview, cpus: list[int]) -> None:
    """Oversleep, of all CPUs that it may use by the one that was there most."""
    count, longest, longest_s, over = 0, 0, 0.0, False
    before, since = rounds.tolist(), time.monotonic()
    while not over:
        over = bool(rounds[OVER])  # a round more: what held it up until then counts, too
        time.sleep(PACE_S)
        now, now_s = rounds.tolist(), time.monotonic()
        longest = max(longest, *(now[cpu] - before[cpu] - 1 for cpu in cpus))
        longest_s = max(longest_s, now_s - since - PACE_S)
        before, since = now, now_s  # without a gap: it may be held up anywhere
        count += 1
        if count == 1:
            print("begun", flush=True)
    print(count, longest, round(longest_s * 1000))


def main() -> None:
    """One of both."""
    kind, clock, *cpu = sys.argv[1:]
    if cpu:
        os.sched_setaffinity(0, {int(cpu[0])})
    cpus = sorted(os.sched_getaffinity(0))
    if kind == "witness":
        witness(opened(Path(clock)), cpus[0])
    else:
        probe(opened(Path(clock)), cpus)


if __name__ == "__main__":
    main()
