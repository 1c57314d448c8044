# SPDX-License-Identifier: Apache-2.0
"""Outcomes for people: tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from agentcg.daemon.simulate.density import Density
from agentcg.daemon.simulate.outcome import Outcome
from agentcg.units import format_duration

_COLUMNS = ("agents", "killed", "calls", "killed", "slower p50", "p95", "p99", "waited", "peak")


def outcomes(found: Sequence[Outcome], title: str) -> Table:
    """One row for each number of agents and control."""
    table = _table(title, "control", *_COLUMNS)
    for one in found:
        table.add_row(one.control, *_cells(one))
    return table


def densities(found: Sequence[Density], title: str) -> Table:
    """How many agents one host carries under each control."""
    table = _table(title, "control", "agents", "per GiB", "slower mean", "p95", "peak")
    for one in found:
        slow = None if one.at is None else one.at.all.slowdown
        table.add_row(
            one.control,
            str(one.agents),
            f"{one.agents_per_gib:.2f}",
            _percent(None if slow is None else slow.mean),
            _percent(None if slow is None else slow.p95),
            "-" if one.at is None else f"{one.at.peak_share:.0%}",
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=True, justify="right" if number else "left")
    return table


def _cells(one: Outcome) -> list[str]:
    group = one.all
    slow = group.slowdown
    return [
        str(one.agents),
        str(group.agents_killed),
        f"{group.calls_completed}/{group.calls_planned}",
        str(group.calls_killed),
        _percent(slow.p50),
        _percent(slow.p95),
        _percent(slow.p99),
        format_duration(group.waited_s),
        f"{one.peak_share:.0%}",
    ]


def _percent(factor: float | None) -> str:
    return "-" if factor is None else f"{factor - 1:.1%}"
