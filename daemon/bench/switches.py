# SPDX-License-Identifier: Apache-2.0
"""How soon who wakes gets a CPU, and what it costs to hand it over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agentcg.bpf.scheduler import Scheduler
from agentcg.daemon.bench import loads
from agentcg.daemon.bench.figures import Measured
from agentcg.daemon.bench.loads import Bench, bench, percentile

HOGS = 8
COMPILED_PER_SECOND = 8  # of the time for a figure: so many files are compiled
CROWDS = (10, 100, 1000)
EMPTY = 9000
LARGEST = 10_000
LARGE_BYTES = 6 << 30  # of memory, for so many processes
PROGRAMS = ("enqueue", "dispatch")


def waking(seconds: float) -> list[Measured]:
    """A call that wakes every 20 ms, beside others of its weight that always compute."""
    with bench() as b:
        (waker,) = b.load(loads.WAKER.format(seconds=seconds), b.below(b.cgroup, "short"))
        _hogs(b)
        waker.go()
        return _waits(f"wake-up beside {HOGS} busy calls", waker.result())


def starting(seconds: float) -> list[Measured]:
    """Short calls one after the other, beside the same."""
    with bench() as b:
        code = loads.STARTER.format(seconds=seconds, path=str(b.cgroup.path))
        b.cgroup.enable(["cpu", "memory"])
        (starter,) = b.load(code, b.below(b.cgroup, "agent"))
        _hogs(b)
        starter.go()
        return _waits(f"a call of 5 ms beside {HOGS} busy calls, waiting in all", starter.result())


def throughput(seconds: float) -> list[Measured]:
    """What hands over all the time, with nothing beside it."""
    kinds = {
        "pipe ping-pong": loads.PING_PONG.format(seconds=seconds),
        "fork and exit": loads.SPAWNER.format(seconds=seconds),
        "files compiled": loads.COMPILER.format(files=int(COMPILED_PER_SECOND * seconds)),
    }
    return [Measured(name, "1/s", _alone(code)) for name, code in kinds.items()]


def costs(scheduler: Scheduler, seconds: float) -> list[Measured]:
    """A run of each program while tasks wake each other; counting takes part of it, too."""
    with _timed(scheduler, "during ping-pong") as found:
        _alone(loads.PING_PONG.format(seconds=seconds))
    return found


def costs_in_crowds(
    scheduler: Scheduler, seconds: float, say: Callable[[str], None]
) -> list[Measured]:
    """The same while so many cgroups compute, then among others that are empty, and while ten
    thousand do, where there is the memory for them."""
    found = []
    largest = [(LARGEST, 0)] if _memory_bytes() >= LARGE_BYTES else []
    for count, empty in (*((count, 0) for count in CROWDS), (CROWDS[-1], EMPTY), *largest):
        among = f"{count} busy cgroups of {count + empty}"
        say(f"  {among}")
        with bench() as b:
            b.cgroup.enable(["cpu"])
            places = [b.cgroup.path / f"c{n}" for n in range(count + empty)]
            for place in places:
                place.mkdir()
            each = f"[{str(b.cgroup.path)!r} + f'/c{{n}}' for n in range({count})]"
            code = loads.CROWD.format(places=each)
            b.load(code, b.below(b.cgroup, "first"))[0].go()
            time.sleep(seconds)
            with _timed(scheduler, f"among {among}") as took:
                time.sleep(seconds)
        found += took
    return found


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def _timed(scheduler: Scheduler, when: str) -> Iterator[list[Measured]]:
    found: list[Measured] = []
    with scheduler.timed(*(f"agentcg_{name}" for name in PROGRAMS)) as took:
        yield found
        for name in PROGRAMS:
            found.append(Measured(f"one {name}, {when}", "ns", took(f"agentcg_{name}")))


def _alone(code: str) -> float:
    with bench() as b:
        (load,) = b.load(code, b.below(b.cgroup, "one"))
        load.go()
        return float(load.result())


def _hogs(b: Bench) -> None:
    for n in range(HOGS):
        b.load(loads.BUSY, b.below(b.cgroup, f"hog{n}"))[0].go()


def _waits(name: str, us: list[float]) -> list[Measured]:
    shown: dict[str, Callable[[list[float]], float]] = {
        "p50": lambda all_of: percentile(all_of, 0.5),
        "p95": lambda all_of: percentile(all_of, 0.95),
        "max": max,
    }
    return [Measured(f"{name}, {which}", "us", of(us)) for which, of in shown.items()]
