# SPDX-License-Identifier: Apache-2.0
"""Statistics of a replay: pure functions of what was observed."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.cgroups import CpuStat, MemoryEvents, Usage
from agentcg.cgroups.values import Stalled
from agentcg.daemon.replay.collect import memory_figures
from agentcg.daemon.replay.result import (
    CallFigures,
    Latency,
    MemoryFigures,
    RunResult,
    SessionResult,
    latency_of,
    median,
    percentile,
    summarise,
)

NO_MEMORY = MemoryFigures(
    high_events=None,
    max_events=None,
    oom_events=None,
    oom_kills=None,
    stalled_us=None,
    peak_bytes=None,
    swap_peak_bytes=None,
)


def session(state: str = "completed", **more: object) -> SessionResult:
    """A session's result with the fields that a test cares about."""
    fields: dict[str, object] = {
        "priority": "high",
        "trace": "t",
        "state": state,
        "exit_status": 0 if state == "completed" else 137,
        "ended_at_s": 2.0,
        "during": None,
        "planned_s": 1.0,
        "wall_s": 2.0 if state == "completed" else None,
        "late_s": None,
        "alone_s": None,
        "x_alone": None,
        "latency": latency_of([1_000_000]),
        "memory": NO_MEMORY,
        "calls": CallFigures(planned=3, completed=2, killed=1, failed=0, not_run=0, ungoverned=0),
        "cpu_usage_us": None,
    } | more
    return SessionResult(**fields)  # type: ignore[arg-type]


def run(control: str, number: int, *sessions: SessionResult) -> RunResult:
    """One run."""
    return RunResult(
        control=control,
        run=number,
        seed="0",
        begun_at=0.0,
        shared=NO_MEMORY,
        sessions=list(sessions),
    )


@given(st.lists(st.floats(-1e9, 1e9), min_size=2), st.integers(1, 99))
def test_percentile_agrees_with_the_standard_library(values: list[float], share: int) -> None:
    """The inclusive method of `statistics.quantiles`: the first and last values are 0 and 1."""
    expected = statistics.quantiles(values, n=100, method="inclusive")[share - 1]
    assert percentile(sorted(values), share / 100) == pytest.approx(expected, abs=1e-5)


def test_no_values_have_no_percentile() -> None:
    """Not known is None, not zero."""
    assert percentile([], 0.5) is None
    assert median([None, None]) is None
    assert latency_of([]) == Latency(
        count=0, unfinished=0, p50_us=None, p95_us=None, p99_us=None, max_us=None
    )


def test_latencies_leave_out_what_did_not_end() -> None:
    """Words of a board: nanoseconds, minus a beginning, or nothing yet."""
    found = latency_of([3_000, -99_000_000_000, 1_000, 0, 2_000])
    assert (found.count, found.unfinished) == (3, 1)
    assert (found.p50_us, found.max_us) == (2.0, 3.0)


def test_a_summary_counts_survivors_and_times_only_them() -> None:
    """A killed session has no wall time; its allocations and calls count all the same."""
    (summary,) = summarise(
        [
            run("none", 1, session(x_alone=1.5)),
            run("none", 2, session("killed", latency=latency_of([9_000_000]))),
            run("none", 3, session(wall_s=4.0, x_alone=2.5)),
        ]
    )
    assert (summary.runs, summary.completed) == (3, 2)
    assert (summary.wall_s, summary.x_alone) == (3.0, 2.0)
    assert (summary.p95_us, summary.max_us) == (1000.0, 9000.0)
    assert (summary.calls_planned, summary.calls_killed) == (9, 3)


def test_a_summary_keeps_controls_and_sessions_apart() -> None:
    """One line for each control and session, in the order in which they were played."""
    low = session(priority="low")
    runs = [
        run("none", 1, session(), low),
        run("agentcg", 1, session(), low),
        run("none", 2, session(), low),
    ]
    assert [(line.control, line.priority, line.runs) for line in summarise(runs)] == [
        ("none", "high", 2),
        ("none", "low", 2),
        ("agentcg", "high", 1),
        ("agentcg", "low", 1),
    ]


def usage(high: int, stalled_us: int, peak: int) -> Usage:
    """A reading of a cgroup."""
    return Usage(
        memory_current=0,
        memory_peak=peak,
        memory_events=MemoryEvents(low=0, high=high, max=2, oom=1, oom_kill=1, oom_group_kill=0),
        memory_stalled=Stalled(stalled_us, stalled_us),
        cpu_stat=CpuStat(1, 1, 0, None, None, None),
    )


def test_a_cgroup_that_outlives_runs_is_read_twice() -> None:
    """Counters are differences; a peak is this run's only if it is a new one."""
    found = memory_figures(usage(5, 100, 1000), usage(8, 250, 1000))
    assert (found.high_events, found.max_events, found.stalled_us) == (3, 0, 150)
    assert found.peak_bytes is None
    assert memory_figures(usage(5, 100, 1000), usage(8, 250, 2000)).peak_bytes == 2000
    assert memory_figures(None, usage(8, 250, 1000)).peak_bytes == 1000


def test_what_the_kernel_does_not_count_is_unknown() -> None:
    """No reading at all gives None throughout."""
    assert memory_figures(None, None) == NO_MEMORY
