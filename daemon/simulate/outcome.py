# SPDX-License-Identifier: Apache-2.0
"""What came of a simulation, in numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from agentcg.daemon.messages import Priority
from agentcg.daemon.replay.result import percentile
from agentcg.daemon.simulate.session import RunStats
from agentcg.daemon.simulate.world import World

_PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")


class Slowdown(msgspec.Struct, frozen=True, kw_only=True):
    """Wall time against the plan, over runs that completed; 1 is as planned."""

    runs: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of one priority, or all. Seconds are sums over the runs.

    runs = completed + agents_killed + cut off by the end of the simulation; calls planned =
    completed + killed + those that were not run because their agent was killed or cut off.
    """

    runs: int
    runs_completed: int
    agents_killed: int
    calls_planned: int
    calls_completed: int
    calls_killed: int
    calls_killed_by: dict[str, int]  # "oom", "limit" (its own), "ladder"
    slowdown: Slowdown
    waited_s: float  # for room, before calls began
    slowed_s: float  # at memory.high
    frozen_s: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One simulation."""

    control: str
    agents: int
    hosts: int
    simulated_s: float
    events: int
    peak_share: float  # of the memory of the fullest host
    all: Group
    by_priority: dict[str, Group]

    @property
    def unharmed(self) -> bool:
        """Whether nobody was killed, agent or call."""
        return self.all.agents_killed == 0 and self.all.calls_killed == 0


def outcome(agents: int, control: str, world: World) -> Outcome:
    """The numbers of a world that has run."""
    present = [p for p in _PRIORITIES if any(run.priority == p for run in world.runs)]
    return Outcome(
        control=control,
        agents=agents,
        hosts=len(world.hosts),
        simulated_s=world.now,
        events=world.events,
        peak_share=max(min(1.0, host.pool.peak / host.pool.limit) for host in world.hosts),
        all=group(world.runs),
        by_priority={p: group([r for r in world.runs if r.priority == p]) for p in present},
    )


def group(runs: Sequence[RunStats]) -> Group:
    """Sums and percentiles of `runs`."""
    killed_by: Counter[str] = Counter()
    for run in runs:
        killed_by.update(run.kills)
    return Group(
        runs=len(runs),
        runs_completed=sum(run.wall_s is not None for run in runs),
        agents_killed=sum(run.killed for run in runs),
        calls_planned=sum(run.calls_planned for run in runs),
        calls_completed=sum(run.calls_completed for run in runs),
        calls_killed=sum(run.calls_killed for run in runs),
        calls_killed_by=dict(sorted(killed_by.items())),
        slowdown=_slowdown([run.slowdown for run in runs if run.slowdown is not None]),
        waited_s=sum(run.waited_s for run in runs),
        slowed_s=sum(run.slowed_s for run in runs),
        frozen_s=sum(run.frozen_s for run in runs),
    )


def _slowdown(factors: list[float]) -> Slowdown:
    ordered = sorted(factors)
    return Slowdown(
        runs=len(ordered),
        mean=sum(ordered) / len(ordered) if ordered else None,
        p50=percentile(ordered, 0.5),
        p95=percentile(ordered, 0.95),
        p99=percentile(ordered, 0.99),
        max=ordered[-1] if ordered else None,
    )
