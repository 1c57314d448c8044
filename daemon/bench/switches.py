# SPDX-License-Identifier: Apache-2.0
"""How soon who wakes gets a CPU, and what it costs to hand it over."""

from __future__ import annotations

from collections.abc import Callable

from agentcg.bpf.scheduler import Scheduler
from agentcg.daemon.bench import loads
from agentcg.daemon.bench.figures import Measured
from agentcg.daemon.bench.loads import Bench, bench, percentile

HOGS = 8
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
    return [
        Measured(name, "1/s", _alone(code, seconds))
        for name, code in (("pipe ping-pong", loads.PING_PONG), ("fork and exit", loads.SPAWNER))
    ]


def costs(scheduler: Scheduler, seconds: float) -> list[Measured]:
    """A run of each program while tasks wake each other; counting takes part of it, too."""
    with scheduler.timed(*(f"agentcg_{name}" for name in PROGRAMS)) as took:
        _alone(loads.PING_PONG, seconds)
        return [
            Measured(f"one {name}, during ping-pong", "ns", took(f"agentcg_{name}"))
            for name in PROGRAMS
        ]


def _alone(code: str, seconds: float) -> float:
    with bench() as b:
        (load,) = b.load(code.format(seconds=seconds), b.below(b.cgroup, "one"))
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
