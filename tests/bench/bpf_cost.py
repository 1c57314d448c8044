#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What accounting by BPF costs: every process of the host, the daemon and the helper.

    python tests/bench/bpf_cost.py [--rounds N] [--processes N]

Paired: rounds of fork + exec of /bin/true, alternately with the programs attached and without,
close together, in CPU time, so that the machine's mood is the same for both. With the
programs attached the loop runs in three places: outside of the scope (what every other process
of the host pays), in the scope but untracked, and in a tracked leaf. The time that each program
takes for one event comes from the kernel itself (kernel.bpf_stats_enabled), in rounds of their
own; it includes the reading of the clock, some 50 ns. Needs root; prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from agentcg.bpf import Accounting, pins
from agentcg.bpf.tunables import Tunables
from bpf_support import Leaf, leaf, pin_root

STATS = Path("/proc/sys/kernel/bpf_stats_enabled")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--processes", type=int, default=200)
    arguments = parser.parse_args()
    with pin_root() as root, leaf() as scope:
        inside, tracked = scope.child("untracked"), scope.child("tracked")
        places: dict[str, Leaf | None] = {
            "out_of_scope": None,
            "untracked": inside,
            "tracked": tracked,
        }
        result = {
            "fork_exec": _paired(root, scope, places, arguments.rounds, arguments.processes),
            "program_ns": _program_times(root, scope, places, arguments.processes),
            "open_s": _open_times(root),
            "rss_bytes": {"daemon": _daemon_rss(root), **_helper_rss(root)},
        }
    print(json.dumps(result))
    return 0


def _loop_us(place: Leaf | None, processes: int) -> float:
    """CPU time in microseconds of one fork + exec + wait of /bin/true by a process in `place`."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        if place is not None:
            place.enter()
        started_us = _cpu_us()
        for _ in range(processes):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        os.write(writing, str(_cpu_us() - started_us).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    taken_us = float(os.read(reading, 32))
    os.close(reading)
    os.close(writing)
    return taken_us / processes


def _cpu_us() -> float:
    """CPU time of this process and its children that ended: exact, and blind to other load."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) * 1e6


def _with_programs(root: Path, scope: Leaf, run: Callable[[], Any]) -> Any:
    accounting = Accounting.open(root, scope=scope.path)
    accounting.track((scope.path / "tracked").stat().st_ino)
    try:
        return run()
    finally:
        accounting.unpin()


def _paired(
    root: Path, scope: Leaf, places: dict[str, Leaf | None], rounds: int, processes: int
) -> dict[str, Any]:
    """Medians, and the median over the rounds of (with - without) / without in percent."""
    without: dict[str, list[float]] = {name: [] for name in places}
    attached: dict[str, list[float]] = {name: [] for name in places}

    def measure(into: dict[str, list[float]]) -> None:
        for name, place in places.items():
            into[name].append(_loop_us(place, processes))

    for _ in range(rounds):
        measure(without)
        _with_programs(root, scope, lambda: measure(attached))
    return {
        name: {
            "without_us": round(statistics.median(without[name]), 1),
            "with_us": round(statistics.median(attached[name]), 1),
            "overhead_percent": round(
                statistics.median(
                    (b / a - 1) * 100 for a, b in zip(without[name], attached[name], strict=True)
                ),
                2,
            ),
        }
        for name in places
    }


def _program_times(
    root: Path, scope: Leaf, places: dict[str, Leaf | None], processes: int
) -> dict[str, dict[str, int]]:
    """Nanoseconds for one event of each program, by the kernel's own statistics."""

    def measure(place: Leaf | None) -> dict[str, int]:
        STATS.write_text("1")
        try:
            _loop_us(place, processes)
        finally:
            STATS.write_text("0")
        listing = subprocess.check_output(["bpftool", "-j", "prog", "show"])
        return {
            program["name"]: round(program["run_time_ns"] / program["run_cnt"])
            for program in json.loads(listing)
            if program.get("run_cnt") and program.get("name", "").startswith("on_")
        }

    return {
        name: _with_programs(root, scope, lambda place=place: measure(place))
        for name, place in places.items()
    }


def _open_times(root: Path) -> dict[str, float]:
    """Seconds to compile, attach and pin, and to open what is pinned."""
    started = time.monotonic()
    Accounting.open(root).close()
    compiled = time.monotonic()
    Accounting.open(root).close()
    return {
        "compile": round(compiled - started, 3),
        "reopen": round(time.monotonic() - compiled, 5),
    }


def _daemon_rss(root: Path) -> int:
    """Resident memory of a process that has the pins open and does nothing else."""
    script = (
        f"from agentcg.bpf import Accounting; a = Accounting.open({str(root)!r}); a.poll()\n"
        "print(open('/proc/self/statm').read().split()[1])"
    )
    pages = subprocess.check_output([sys.executable, "-c", script])
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _helper_rss(root: Path) -> dict[str, int]:
    """Peak resident memory of the helper, which lives only while it compiles."""
    target = root / f"new-{pins.key_of(Tunables())}"
    command = [sys.executable, "-m", "agentcg.bpf.compile", "--pin", str(target)]
    return {"helper_peak": json.loads(subprocess.check_output(command))["peak_rss_bytes"]}


if __name__ == "__main__":
    sys.exit(main())
