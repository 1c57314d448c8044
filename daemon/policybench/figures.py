# SPDX-License-Identifier: Apache-2.0
"""From what was measured to the figures. Pure.

Counts are over all runs; times and latencies are medians over runs of sessions that completed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import msgspec

from agentcg.daemon.policybench.storm import Ended
from agentcg.daemon.replay.campaign import Report
from agentcg.daemon.replay.result import RunResult, SessionResult, median


class StormResult(msgspec.Struct, frozen=True, kw_only=True):
    """A high agent under agentcg, by itself and beside a storm."""

    alone: Report
    beside: Report
    storm: list[Ended]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One control in one figure."""

    figure: str
    control: str
    runs: int
    agents: int
    agents_completed: int
    calls: int
    calls_completed: int
    calls_killed: int
    high_x_alone: float | None
    high_x_alone_worst: float | None
    low_x_alone: float | None
    high_p95_us: float | None  # of allocations
    high_p95_of_none: float | None


class StormRow(msgspec.Struct, frozen=True, kw_only=True):
    """Figure 4."""

    runs: int
    high_completed: int
    high_calls: int
    high_calls_completed: int
    high_p95_us: float | None
    high_p95_alone_us: float | None
    p95_ratio: float | None
    wall_ratio: float | None
    offenders_begun: int
    offenders_killed: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All that can be told so far."""

    rows: list[Row]
    no_pressure_ratio: float | None  # total time under agentcg, of none
    storm: StormRow | None


def figures(campaigns: Mapping[str, Report], storms: Mapping[str, StormResult]) -> Figures:
    """`campaigns` by key, `FIGURE/UNIT`."""
    rows: list[Row] = []
    for name in dict.fromkeys(key.partition("/")[0] for key in campaigns):
        own = [report for key, report in campaigns.items() if key.partition("/")[0] == name]
        rows += _rows(name, own)
    return Figures(
        rows=rows,
        no_pressure_ratio=_total_ratio(campaigns),
        storm=_storm(list(storms.values())) if storms else None,
    )


def _rows(name: str, reports: Sequence[Report]) -> list[Row]:
    runs = list(chain.from_iterable(report.runs for report in reports))
    by_control = {run.control: [r for r in runs if r.control == run.control] for run in runs}
    of_none = _p95(by_control.get("none", []))
    return [_row(name, control, own, of_none) for control, own in by_control.items()]


def _row(name: str, control: str, runs: Sequence[RunResult], of_none: float | None) -> Row:
    sessions = [session for run in runs for session in run.sessions]
    high = [session for session in sessions if session.priority == "high"]
    low = [session for session in sessions if session.priority != "high"]
    factors = [session.x_alone for session in high if session.x_alone is not None]
    p95 = _p95(runs)
    return Row(
        figure=name,
        control=control,
        runs=len(runs),
        agents=len(sessions),
        agents_completed=sum(session.state == "completed" for session in sessions),
        calls=sum(session.calls.planned for session in sessions),
        calls_completed=sum(session.calls.completed for session in sessions),
        calls_killed=sum(session.calls.killed for session in sessions),
        high_x_alone=median(factors),
        high_x_alone_worst=max(factors, default=None),
        low_x_alone=median([session.x_alone for session in low]),
        high_p95_us=p95,
        high_p95_of_none=p95 / of_none if p95 is not None and of_none else None,
    )


def _p95(runs: Iterable[RunResult]) -> float | None:
    return median([s.latency.p95_us for run in runs for s in run.sessions if s.priority == "high"])


def _total_ratio(campaigns: Mapping[str, Report]) -> float | None:
    ratios = []
    for key, report in campaigns.items():
        if key.startswith("roomy/"):
            total = {run.control: _total_s(run.sessions) for run in report.runs}
            none, ours = total.get("none"), total.get("agentcg")
            if none and ours:
                ratios.append(ours / none)
    return median(ratios)


def _total_s(sessions: Sequence[SessionResult]) -> float | None:
    walls = [session.wall_s for session in sessions]
    return None if None in walls else sum(wall for wall in walls if wall is not None)


@dataclass(frozen=True)
class _Pair:
    alone: SessionResult
    beside: SessionResult


def _storm(results: Sequence[StormResult]) -> StormRow:
    pairs = [
        _Pair(result.alone.runs[0].sessions[0], result.beside.runs[0].sessions[0])
        for result in results
    ]
    beside = median([pair.beside.latency.p95_us for pair in pairs])
    alone = median([pair.alone.latency.p95_us for pair in pairs])
    ended = list(chain.from_iterable(result.storm for result in results))
    return StormRow(
        runs=len(pairs),
        high_completed=sum(pair.beside.state == "completed" for pair in pairs),
        high_calls=sum(pair.beside.calls.planned for pair in pairs),
        high_calls_completed=sum(pair.beside.calls.completed for pair in pairs),
        high_p95_us=beside,
        high_p95_alone_us=alone,
        p95_ratio=beside / alone if beside is not None and alone else None,
        wall_ratio=median(
            [
                pair.beside.wall_s / pair.alone.wall_s
                for pair in pairs
                if pair.beside.wall_s and pair.alone.wall_s
            ]
        ),
        offenders_begun=len(ended),
        offenders_killed=sum(one.killed for one in ended),
    )
