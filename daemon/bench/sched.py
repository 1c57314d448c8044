# SPDX-License-Identifier: Apache-2.0
"""`agentcg bench sched`: the scheduler beside the kernel's own."""

from __future__ import annotations

from collections.abc import Callable

from agentcg.bpf.scheduler import Scheduler
from agentcg.daemon.bench import cpu_shares, switches
from agentcg.daemon.bench.figures import Figure, Measured

MEASURES = {
    "shares by weight": cpu_shares.flat,
    "shares by weight, nested": cpu_shares.nested,
    "shares beside sleepers and forks": cpu_shares.beside_others,
    "shares beside many tasks and many cgroups": cpu_shares.crowds,
    "waking up": switches.waking,
    "short calls": switches.starting,
    "throughput": switches.throughput,
}


COSTS = "costs"


def run(seconds: float, say: Callable[[str], None], only: str = "") -> list[Figure]:
    """All figures, or those whose title has `only` in it: first under the kernel's own scheduler,
    then under ours."""
    say("the kernel's own scheduler")
    kernel = _all(seconds, say, only)
    say("agentcg's scheduler")
    with Scheduler.open() as scheduler:
        ours = _all(seconds, say, only)
        costs = _costs(scheduler, seconds, say) if only in COSTS else []
        if why := scheduler.ended():
            say(f"the kernel took the scheduler out: {why}")
    beside = [
        Figure(one.name, one.unit, one.value, mine.value, one.ideal)
        for one, mine in zip(kernel, ours, strict=True)
    ]
    return beside + [Figure(one.name, one.unit, None, one.value) for one in costs]


def _all(seconds: float, say: Callable[[str], None], only: str) -> list[Measured]:
    found: list[Measured] = []
    for name, measure in MEASURES.items():
        if only in name:
            say(f"  {name}")
            found += measure(seconds)
    return found


def _costs(scheduler: Scheduler, seconds: float, say: Callable[[str], None]) -> list[Measured]:
    say(f"  {COSTS}")
    return switches.costs(scheduler, seconds) + switches.costs_in_crowds(scheduler, seconds, say)
