# SPDX-License-Identifier: Apache-2.0
"""Who gets how much of the CPUs, beside what the weights promise."""

from __future__ import annotations

import os
import time

from agentcg.cgroups import Cgroup
from agentcg.daemon.bench import loads
from agentcg.daemon.bench.figures import Measured
from agentcg.daemon.bench.loads import Bench, bench, shares

FLAT = {"1": 100, "3": 300, "10": 1000}
TASKS = 1000
CGROUPS = 500


def flat(seconds: float) -> list[Measured]:
    """Three cgroups side by side."""
    with bench() as b:
        groups = [b.below(b.cgroup, f"w{name}", weight) for name, weight in FLAT.items()]
        _start(b, [(group, loads.BUSY, _busy()) for group in groups])
        found = shares(groups, seconds)
    total = sum(FLAT.values())
    return [
        Measured(f"share, weight {name} of 1:3:10", "%", one, 100 * FLAT[name] / total)
        for name, one in zip(FLAT, found, strict=True)
    ]


def nested(seconds: float) -> list[Measured]:
    """p (100) holds r (100) and s (100), r holds x (100) and y (300); q (100) is beside p."""
    with bench() as b:
        p, q = b.below(b.cgroup, "p"), b.below(b.cgroup, "q")
        r, s = b.below(p, "r"), b.below(p, "s")
        x, y = b.below(r, "x"), b.below(r, "y", 300)
        groups = [x, y, s, q]
        _start(b, [(group, loads.BUSY, _busy()) for group in groups])
        found = shares(groups, seconds)
    ideal = (6.25, 18.75, 25.0, 50.0)
    names = ("p/r/x", "p/r/y", "p/s", "q")
    return [
        Measured(f"share, nested {n}", "%", one, i)
        for n, one, i in zip(names, found, ideal, strict=True)
    ]


def beside_others(seconds: float) -> list[Measured]:
    """Half of the machine for a cgroup that always computes, whatever is in the other half."""
    found = []
    for name, code, count in (
        ("sleepers", loads.SLEEPER, 4 * _busy()),
        ("bursts of forks", loads.FORKER, 2 * _busy()),
    ):
        with bench() as b:
            steady, other = b.below(b.cgroup, "steady"), b.below(b.cgroup, "other")
            _start(b, [(steady, loads.BUSY, _busy()), (other, code, count)])
            found.append(_half(f"share beside {name}", steady, other, seconds))
    return found


def crowds(seconds: float) -> list[Measured]:
    """The same beside many tasks in one cgroup, and beside many cgroups below one, when they are
    no longer new."""
    with bench() as b:
        steady, other = b.below(b.cgroup, "steady"), b.below(b.cgroup, "other")
        crowd = loads.CROWD.format(places=[str(other.path)] * TASKS)
        _start(b, [(steady, loads.BUSY, _busy()), (steady, crowd, 1)])
        time.sleep(seconds)
        tasks = _half(f"share beside {TASKS} tasks", steady, other, seconds)
    with bench() as b:
        steady, other = b.below(b.cgroup, "steady"), b.below(b.cgroup, "other")
        below = [str(b.below(other, f"c{n}").path) for n in range(CGROUPS)]
        _start(b, [(steady, loads.BUSY, _busy()), (steady, loads.CROWD.format(places=below), 1)])
        time.sleep(seconds)
        cgroups = _half(f"share beside {CGROUPS} cgroups", steady, other, 2 * seconds)
    return [tasks, cgroups]


def _half(name: str, steady: Cgroup, other: Cgroup, seconds: float) -> Measured:
    return Measured(name, "%", shares([steady, other], seconds)[0], 50.0)


def _busy() -> int:
    """As many as there are CPUs, so that none is idle whoever gets how much."""
    return os.cpu_count() or 1


def _start(b: Bench, wanted: list[tuple[Cgroup, str, int]]) -> None:
    ready = [one for cgroup, code, count in wanted for one in b.load(code, cgroup, count)]
    for one in ready:
        one.go()
