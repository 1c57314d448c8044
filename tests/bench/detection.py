#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How soon a call that nobody declared is in a leaf of its own, and what it had touched by then.

    python tests/bench/detection.py [--calls N] [--pause SECONDS] [--favordynmods]
                                    [--nice N] [--real-time]

Root, a cgroup v2 mount, a C compiler. An agent without signature runs N times `sh -c` one after
the other, with a pause between them as a model makes one; every other `sh` is a program that
touches memory as fast as it can and notes how much it has by when. Prints one JSON object:
milliseconds from the exec of a shell, as the kernel saw it, until its process was in its leaf
(`placed_after_us` of the API), calls per outcome, and what the fast ones had touched at that
moment: all of that stays charged to the runtime.

`--favordynmods` measures without that mount option, then with it, and takes it off again. From
Linux 6.18 on moves stay quick until the machine restarts once it was set, also when it is off.
`--nice`: of the daemon and its autogroup; -10 is what `CPUWeight=1000` of its unit comes to among
services. `--real-time`: round robin at priority 1, which the unit does not ask for.
"""

from __future__ import annotations

import argparse
import bisect
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from agentcg.bpf import Accounting
from agentcg.cgroups import find_mount
from bench.cgroup_placement import remount
from daemon_support import Daemon, fresh, own_daemon, weigh

AGENT = """
import subprocess, sys, time
calls, pause, hog, notes = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
for n in range(calls):
    time.sleep(pause)
    if n % 2:
        subprocess.run([hog, "-c", f"{notes}/{n}"])
    else:
        subprocess.run(["/bin/sh", "-c", f"sleep 0.05; exit {n % 256}"])
"""
# Touches 96 MiB, a page of 4 KiB at a time, and writes to the file in its last argument when it
# had how many of each 256 KiB.
HOG = r"""
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#define STEP (256 << 10)
#define STEPS 384
int main(int count, char **words)
{
    static double at[STEPS];
    size_t size = (size_t)STEP * STEPS;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct timespec now;
    FILE *notes;
    madvise(memory, size, MADV_NOHUGEPAGE);
    for (int step = 0; step < STEPS; step++) {
        for (int byte = 0; byte < STEP; byte += 4096)
            memory[(size_t)step * STEP + byte] = 1;
        clock_gettime(CLOCK_REALTIME, &now);
        at[step] = now.tv_sec + now.tv_nsec / 1e9;
    }
    notes = fopen(words[count - 1], "w");
    for (int step = 0; step < STEPS; step++)
        fprintf(notes, "%.6f\n", at[step]);
    return fclose(notes);
}
"""
STEP_BYTES = 256 << 10


def measure(daemon: Daemon, calls: int, pause_s: float, directory: Path) -> dict[str, Any]:
    """One session of `calls` calls."""
    name = fresh("bench")
    hog = directory / "sh"
    subprocess.run(["cc", "-O1", "-x", "c", "-o", hog, "-"], input=HOG.encode(), check=True)
    start = ["/bin/sh", "-c", 'read -r _; exec "$@"', "sh", sys.executable, "-IS", "-c", AGENT]
    with subprocess.Popen(
        [*start, str(calls), str(pause_s), str(hog), str(directory)], stdin=subprocess.PIPE
    ) as agent:
        daemon.open(name, pids=[agent.pid])
        agent.communicate(b"\n")
    time.sleep(2)
    found = ended(daemon, name)
    daemon.ask("DELETE", f"/v1/sessions/{name}?kill=true")
    placed = [call for call in found if call["placed_after_us"] is not None]
    taken_ms = [call["placed_after_us"] / 1000 for call in placed]
    return {
        "mount_options": sorted(find_mount().options),
        "load": os.getloadavg()[0],
        "calls": calls,
        "found": len(found),
        "ends": dict(Counter(call["end_reason"] for call in found)),
        "in_a_leaf": len(placed),
        "within_5_ms": round(sum(each <= 5 for each in taken_ms) / max(1, len(placed)), 3),
        "placed_ms": shares(taken_ms),
        "touched_before_mib": shares(touched_mib(placed, directory)),
    }


def ended(daemon: Daemon, session: str) -> list[dict[str, Any]]:
    """All its calls; in memory the daemon keeps fewer of one session."""
    calls: list[dict[str, Any]] = []
    query = f"/v1/history?session={session}&limit=256"
    page = daemon.get(query)
    calls += page["calls"]
    while page["next_before"] is not None:
        page = daemon.get(f"{query}&before={page['next_before']}")
        calls += page["calls"]
    return calls


def touched_mib(placed: Iterable[dict[str, Any]], directory: Path) -> list[float]:
    """What each of the fast ones had touched when it was placed."""
    sizes = []
    for call in placed:
        notes = Path(call["command"])
        if notes.parent == directory and notes.exists():
            times = [float(line) for line in notes.read_text().split()]
            at = call["begun_at"] + call["placed_after_us"] / 1e6
            sizes.append(bisect.bisect(times, at) * STEP_BYTES / (1 << 20))
    return sizes


def shares(values: Iterable[float]) -> dict[str, float]:
    """Percentiles."""
    ordered = sorted(values)
    return {
        f"p{share}": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 2)
        for share in (50, 90, 95, 99, 100)
        if ordered
    }


def one(given: argparse.Namespace) -> dict[str, Any]:
    """Measure with a daemon of its own."""
    pins = f"/sys/fs/bpf/{fresh('agentcg-bench')}"
    options = ("--require", "none", "--bpf", "on", "--pins", pins)
    try:
        with own_daemon(*options) as daemon, tempfile.TemporaryDirectory() as directory:
            assert daemon.process is not None
            weigh(daemon.process.pid, given.nice)
            if given.real_time:
                os.sched_setscheduler(daemon.process.pid, os.SCHED_RR, os.sched_param(1))
            return measure(daemon, given.calls, given.pause, Path(directory))
    finally:
        Accounting.open(pins).unpin()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.05)
    parser.add_argument("--favordynmods", action="store_true")
    parser.add_argument("--nice", type=int, default=-10)
    parser.add_argument("--real-time", action="store_true")
    given = parser.parse_args()
    runs = [one(given)]
    if given.favordynmods and not find_mount().favordynmods:
        remount("favordynmods")
        try:
            runs.append(one(given))
        finally:
            remount()
    machine = {"kernel": platform.release(), "cpus": os.cpu_count(), "daemon_nice": given.nice}
    print(json.dumps({**machine, "runs": runs}, indent=2))


if __name__ == "__main__":
    main()
