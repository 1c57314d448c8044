# SPDX-License-Identifier: Apache-2.0
"""What a replay found, as types, and the statistics that lead to it. Pure.

Meaning and limits of each number: docs/benchmarks.md. Units are in the names; `None` means "not
known" or "no such thing here", never zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from agentcg.daemon.messages import Priority

State = Literal["completed", "killed", "failed", "stalled"]
LATE_SHARE = 0.05  # alone and later than this: the machine is too slow for the speed


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Time to map and touch one chunk, over all allocations of a session that ended."""

    count: int
    unfinished: int  # begun and never ended: killed in it; in none of the figures
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None
    max_us: float | None


class MemoryFigures(msgspec.Struct, frozen=True, kw_only=True):
    """From a cgroup, descendants included, counted from the start of the run."""

    high_events: int | None
    max_events: int | None
    oom_events: int | None
    oom_kills: int | None
    stalled_us: int | None  # memory.pressure, total of `full`: throttled or in reclaim
    peak_bytes: int | None  # None too if the run did not exceed an earlier peak
    swap_peak_bytes: int | None


class CallFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one session; planned = completed + killed + failed + not_run."""

    planned: int
    completed: int
    killed: int  # the tool by SIGKILL
    failed: int  # any other status than 0
    not_run: int  # not begun or cut off when the agent died or the run ended
    ungoverned: int  # of them all, those that the daemon did not take


class SessionResult(msgspec.Struct, frozen=True, kw_only=True):
    """One session in one run."""

    priority: Priority
    trace: str
    state: State
    exit_status: int | None  # of the agent
    ended_at_s: float | None  # since the session's start; of a killed one, its death
    during: str | None  # of a killed session: the call that ran then, or "thinking"
    planned_s: float
    wall_s: float | None  # completed sessions only
    late_s: float | None  # wall minus plan
    alone_s: float | None  # median wall of the same plan alone
    x_alone: float | None
    latency: Latency
    memory: MemoryFigures
    calls: CallFigures
    cpu_usage_us: int | None


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run of all sessions under one control."""

    control: str
    run: int  # from 1
    seed: str
    begun_at: float  # seconds since the epoch
    shared: MemoryFigures  # of the cgroup that has the limit
    sessions: list[SessionResult]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One session over all runs under one control; medians over the runs that completed."""

    control: str
    priority: Priority
    trace: str
    runs: int
    completed: int
    wall_s: float | None
    x_alone: float | None
    late_s: float | None
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None
    max_us: float | None  # the largest, over all runs
    calls_planned: int
    calls_completed: int
    calls_killed: int
    oom_kills: int


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured."""

    kernel: str
    architecture: str
    cpus: int
    memory_bytes: int
    swap_bytes: int
    virtualisation: str | None  # "kvm", "qemu" ..., None: bare metal or not known
    python: str
    agentcg: str


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value at `share` (0 to 1) of sorted values, interpolated; None if there are none."""
    if not ordered:
        return None
    position = (len(ordered) - 1) * share
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median(values: Sequence[float | None]) -> float | None:
    """The middle of the values that are known."""
    return percentile(sorted(value for value in values if value is not None), 0.5)


def latency_of(words: Sequence[int]) -> Latency:
    """Figures of the latency words of a board (nanoseconds; see `Board.latencies`)."""
    ended_us = sorted(word / 1000 for word in words if word > 0)
    return Latency(
        count=len(ended_us),
        unfinished=sum(word < 0 for word in words),
        p50_us=percentile(ended_us, 0.50),
        p95_us=percentile(ended_us, 0.95),
        p99_us=percentile(ended_us, 0.99),
        max_us=ended_us[-1] if ended_us else None,
    )


def summarise(runs: Sequence[RunResult]) -> list[Summary]:
    """One summary for each control and session, in the order of the runs."""
    found: list[Summary] = []
    for control in dict.fromkeys(run.control for run in runs):
        of_control = [run.sessions for run in runs if run.control == control]
        found += [_summary(control, sessions) for sessions in zip(*of_control, strict=True)]
    return found


def _summary(control: str, sessions: Sequence[SessionResult]) -> Summary:
    completed = [session for session in sessions if session.state == "completed"]
    slowest = [s.latency.max_us for s in sessions if s.latency.max_us is not None]
    return Summary(
        control=control,
        priority=sessions[0].priority,
        trace=sessions[0].trace,
        runs=len(sessions),
        completed=len(completed),
        wall_s=median([session.wall_s for session in completed]),
        x_alone=median([session.x_alone for session in completed]),
        late_s=median([session.late_s for session in completed]),
        p50_us=median([session.latency.p50_us for session in sessions]),
        p95_us=median([session.latency.p95_us for session in sessions]),
        p99_us=median([session.latency.p99_us for session in sessions]),
        max_us=max(slowest, default=None),
        calls_planned=sum(session.calls.planned for session in sessions),
        calls_completed=sum(session.calls.completed for session in sessions),
        calls_killed=sum(session.calls.killed for session in sessions),
        oom_kills=sum(session.memory.oom_kills or 0 for session in sessions),
    )
