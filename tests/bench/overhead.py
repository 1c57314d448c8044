#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What agentcg costs those that run: fork + exec of true, page faults, a compile.

    python tests/bench/overhead.py [--pairs N] [--client NAME] [--bound] [--favordynmods]

Paired, on one kernel: with the programs of a running daemon attached, and without any, in turns
that change their order (with, without, without, with), close together, in CPU time of the loop and
its children, which is blind to what else runs but for the caches that it shares. Each in three
places: `outside` of all sessions, what every other process of the host pays; in the `runtime` leaf
of a session, as an agent (`--client`: by the signature of this name); in the leaf of a `call`.
Prints one JSON object: medians, and of the differences in percent the median, its 95% interval (by
order statistics) and the quartiles.

`programs_percent` is another way to the same figure, which noise does not reach: the time that the
kernel itself says the programs took (kernel.bpf_stats_enabled), over the time of the loop. It holds
the reading of two clocks for each run of a program, and lacks the call of it.

`--bound` keeps the loop on one CPU at real-time priority: what else runs there shows less. It lacks
what comes of moving between CPUs.

`daemon_us`: CPU time of the daemon for one unit, beside the loop. `--favordynmods` measures that
mount option in the same way, which the daemon's unit sets; from Linux 6.18 on a part of it stays
until the machine restarts, so its first figure after a boot counts. Needs root and a C compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from ctypes import c_int, c_uint32, c_uint64
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from agentcg.bpf import Accounting, libbpf
from agentcg.bpf.compile import SOURCES, links_of
from agentcg.cgroups import find_mount
from bench.cgroup_placement import remount
from bench.exec_load import cpu_s
from daemon_support import fresh, own_daemon

STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
TRACEPOINTS = {
    link: tracepoint
    for source in SOURCES
    for function, tracepoint in source.functions.items()
    for link in links_of(function, preemptible=True)
}
_PROGRAM_OF_LINK = 2  # prog_id in struct bpf_link_info, in units of four bytes
_RUN_TIME_NS = 24  # in struct bpf_prog_info, in units of eight bytes


class Programs:
    """The programs of a set of pins, to attach and detach at will. Takes over their links."""

    def __init__(self, pins: Path) -> None:
        self._held: list[tuple[int, str]] = []
        self._links: list[int] = []
        for pin in sorted(pins.glob("*/link_*")):
            link = libbpf.get_pinned(pin)
            number = _information(link, c_uint32)[_PROGRAM_OF_LINK]
            program = libbpf.library().bpf_prog_get_fd_by_id(c_uint32(number))
            self._held.append((libbpf.checked(program, pin.name), TRACEPOINTS[pin.name]))
            os.close(link)
            pin.unlink()

    def attach(self) -> None:
        self._links = [
            libbpf.attach_raw_tracepoint(program, tracepoint) for program, tracepoint in self._held
        ]

    def detach(self) -> None:
        for link in self._links:
            os.close(link)
        self._links = []

    def run_time_us(self) -> float:
        """By the kernel's own statistics, all programs, since they were loaded."""
        return sum(_information(p, c_uint64)[_RUN_TIME_NS] for p, _ in self._held) / 1000


def _information(fd: int, of: type[Any]) -> Any:
    buffer = (of * (256 // ctypes.sizeof(of)))()
    size = c_uint32(ctypes.sizeof(buffer))
    given = libbpf.library().bpf_obj_get_info_by_fd(
        c_int(fd), ctypes.byref(buffer), ctypes.byref(size)
    )
    libbpf.checked(given, "information")
    return buffer


# --- Loops ---


def executes(count: int) -> None:
    for _ in range(count):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def faults(count: int) -> None:
    """Touch `count` pages that are not there yet."""
    size = count * mmap.PAGESIZE
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        for offset in range(0, size, mmap.PAGESIZE):
            memory[offset] = 1


def compiles(count: int) -> None:
    """Compile a small program `count` times."""
    source = "#include <stdio.h>\n" + "".join(
        f'int f{n}(int x) {{ return printf("%d", x * {n}) + x; }}\n' for n in range(100)
    )
    for _ in range(count):
        subprocess.run(
            ["cc", "-O1", "-x", "c", "-c", "-o", "/dev/null", "-"],
            input=source.encode(), check=True,
        )  # fmt: skip


Work = Callable[[int], None]
LOOPS: dict[str, tuple[Work, int]] = {
    "fork_exec": (executes, 100),
    "page_fault": (faults, 40_000),
    "compile": (compiles, 1),
}


def bound(work: Work) -> Work:
    """The same on one CPU, which nobody but the kernel takes away from it."""

    def alone(count: int) -> None:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        work(count)

    return alone


def loop_us(place: Path | None, work: Work, count: int) -> float:
    """CPU time in microseconds of one of `count` units of `work` by a process in `place`."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        if place is not None:
            (place / "cgroup.procs").write_text("0")
        work(max(1, count // 10))  # warm
        started_us = _cpu_us()
        work(count)
        os.write(writing, str(_cpu_us() - started_us).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    taken_us = float(os.read(reading, 32))
    os.close(reading)
    os.close(writing)
    return taken_us / count


def _cpu_us() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) * 1e6


# --- Pairs ---


Switch = Callable[[], None]


def paired(on: Switch, off: Switch, units: dict[str, Callable[[], float]], pairs: int) -> Any:
    """Each of `units` with `on` and with `off`, `pairs` times."""
    with_us: dict[str, list[float]] = {name: [] for name in units}
    without_us: dict[str, list[float]] = {name: [] for name in units}

    def measure(switch: Switch, into: dict[str, list[float]]) -> None:
        switch()
        for name, unit in units.items():
            into[name].append(unit())

    for number in range(pairs):
        order = [(on, with_us), (off, without_us)]
        for switch, into in order if number % 2 else reversed(order):
            measure(switch, into)
    return {name: told(with_us[name], without_us[name]) for name in units}


def told(with_us: list[float], without_us: list[float]) -> dict[str, Any]:
    """Medians of pairs, and of their differences."""
    percent = sorted((a / b - 1) * 100 for a, b in zip(with_us, without_us, strict=True))
    count = len(percent)
    reach = round(0.98 * count**0.5)  # of the median, by the normal approximation
    low, high = max(0, count // 2 - reach), min(count - 1, count // 2 + reach)
    quartiles = statistics.quantiles(percent, n=4)
    return {
        "pairs": count,
        "without_us": round(statistics.median(without_us), 2),
        "with_us": round(statistics.median(with_us), 2),
        "percent": round(statistics.median(percent), 2),
        "percent_95": [round(percent[low], 2), round(percent[high], 2)],
        "percent_quartiles": [round(quartiles[0], 2), round(quartiles[2], 2)],
    }


def program_share(
    programs: Programs, daemon_pid: int, place: Path | None, work: Work, count: int
) -> Any:
    """What the kernel says the programs took of a loop, and the daemon's part."""
    programs.attach()
    STATS.write_text("1")
    try:
        before_us, daemon_s = programs.run_time_us(), cpu_s(daemon_pid)
        taken_us = loop_us(place, work, count * 4) * count * 4
        time.sleep(0.5)
        spent_us, daemon_s = programs.run_time_us() - before_us, cpu_s(daemon_pid) - daemon_s
    finally:
        STATS.write_text("0")
        programs.detach()
    units = count * 4 * 1.1  # the warm part, too
    return {
        "programs_us": round(spent_us / units, 3),
        "programs_percent": round(spent_us / 1.1 / taken_us * 100, 2),
        "daemon_us": round(daemon_s * 1e6 / units, 1),
    }


@contextmanager
def places(pins: str, client: str) -> Any:
    """A running daemon's pid, and cgroups of a session of its."""
    with own_daemon("--require", "none", "--bpf", "on", "--pins", pins) as daemon:
        assert daemon.process is not None
        name = fresh("bench")
        daemon.open(name, labels={"client": client})
        call = Path(daemon.begin(name, command="make")["cgroup"])
        with subprocess.Popen(["sleep", "1d"]) as keeper:  # a call ends when it is empty
            (call / "cgroup.procs").write_text(str(keeper.pid))
            try:
                yield (
                    daemon.process.pid,
                    {"outside": None, "runtime": call.parent / "runtime", "call": call},
                )
            finally:
                keeper.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--client", default="generic")
    parser.add_argument("--bound", action="store_true")
    parser.add_argument("--favordynmods", action="store_true")
    given = parser.parse_args()
    loops = {n: (bound(w), c) for n, (w, c) in LOOPS.items()} if given.bound else LOOPS
    result: dict[str, Any] = {"kernel": platform.release(), "load": os.getloadavg()[0]}
    pins = f"/sys/fs/bpf/{fresh('agentcg-bench')}"
    try:
        with places(pins, given.client) as (daemon_pid, where):
            programs = Programs(Path(pins))
            for loop, (work, count) in loops.items():
                units = {
                    name: lambda place=place, work=work, count=count: loop_us(place, work, count)
                    for name, place in where.items()
                }
                switches = programs.attach, programs.detach
                measured = paired(*_alternating(*switches), units, given.pairs)
                programs.detach()
                for name, place in where.items():
                    measured[name] |= program_share(programs, daemon_pid, place, work, count)
                result[loop] = measured
    finally:
        Accounting.open(pins).unpin()
    if given.favordynmods and not find_mount().favordynmods:
        try:
            result["favordynmods"] = paired(
                lambda: remount("favordynmods"), remount,
                {"fork_exec": lambda: loop_us(None, *LOOPS["fork_exec"])}, given.pairs,
            )  # fmt: skip
        finally:
            remount()
    print(json.dumps(result))
    return 0


def _alternating(on: Switch, off: Switch) -> tuple[Switch, Switch]:
    """Switches that do nothing where things are that way already."""
    now = [False]

    def turn(wanted: bool, switch: Switch) -> None:
        if now[0] is not wanted:
            switch()
            now[0] = wanted

    return lambda: turn(True, on), lambda: turn(False, off)


if __name__ == "__main__":
    sys.exit(main())
