# SPDX-License-Identifier: Apache-2.0
"""What people see at the end: one table that fits a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from agentcg.daemon.messages import Priority
from agentcg.daemon.replay.campaign import Report, machine
from agentcg.daemon.replay.report import table
from agentcg.daemon.replay.result import Summary


def line(control: str, priority: Priority, completed: int) -> Summary:
    """One line of three runs."""
    return Summary(
        control=control,
        priority=priority,
        trace="haiku__sigmavirus24__github3.py-673__a1",
        runs=3,
        completed=completed,
        wall_s=12.3 if completed else None,
        x_alone=1.234 if completed else None,
        late_s=0.1,
        p50_us=300.0,
        p95_us=1234.0,
        p99_us=20_000.0,
        max_us=1_000_000.0,
        calls_planned=15,
        calls_completed=14,
        calls_killed=1,
        oom_kills=1,
    )


def rendered(summary: list[Summary], columns: int) -> list[str]:
    """The table as text."""
    report = Report(
        format=1,
        machine=machine(),
        settings={"limit_bytes": 1100 << 20, "speed": 10.0, "runs": 3},
        alone=[],
        runs=[],
        summary=summary,
        warnings=[],
    )
    out = io.StringIO()
    Console(file=out, width=columns, color_system=None).print(table(report))
    return out.getvalue().splitlines()


def test_the_table_fits_eighty_columns() -> None:
    """One line for each session, nothing wrapped, the control named once."""
    lines = rendered(
        [line("none", "high", 0), line("none", "low", 3), line("agentcg", "high", 3)], 80
    )
    assert max(len(text.rstrip()) for text in lines) <= 80
    assert lines[1].split("  ")[-1].strip() == "kills"
    assert "P95 alloc" in lines[1]
    rows = [text.split() for text in lines if "github3.py-673" in text]
    assert rows == [
        ["none", "high", "github3.py-673", "0/3", "-", "-", "1.23ms", "14/15", "1"],
        ["low", "github3.py-673", "3/3", "12s", "1.23", "1.23ms", "14/15", "1"],
        ["agentcg", "high", "github3.py-673", "3/3", "12s", "1.23", "1.23ms", "14/15", "1"],
    ]


def test_the_title_says_under_which_conditions() -> None:
    """Limit, speed, runs and kernel stand above the figures."""
    title = rendered([line("none", "high", 3)], 100)[0]
    assert title.strip().startswith("limit 1.1G, speed 10.0, runs 3, kernel ")
