# SPDX-License-Identifier: Apache-2.0
"""Results for people: one table, and how a run looks while it goes on."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from agentcg.daemon.replay.campaign import Look, Report
from agentcg.daemon.replay.executor import Glimpse
from agentcg.daemon.replay.result import Summary
from agentcg.units import format_duration, format_size


def table(report: Report) -> Table:
    """Control by session: survived, wall time, against alone, P95, calls done, OOM kills."""
    shown = Table(title=_title(report), title_justify="left", box=None, pad_edge=False)
    shown.add_column("control", no_wrap=True, min_width=len("agentcg"))
    shown.add_column("session", no_wrap=True)
    for name in ("survived", "wall", "x alone", "P95 alloc", "calls", "kills"):
        shown.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    before = ""
    for row in report.summary:
        if before and row.control != before:
            shown.add_section()
        shown.add_row(row.control if row.control != before else "", *_cells(row))
        before = row.control
    return shown


def progress(label: str, seconds: float, sessions: list[Glimpse]) -> str:
    """One line: where the run is."""
    parts = [
        f"{seen.priority} {seen.state if seen.state != 'running' else ''}"
        f" {seen.calls_done}/{seen.calls_total} {format_size(seen.memory_bytes)}"
        for seen in sessions
    ]
    return f"{label}: {seconds:.0f} s | " + " | ".join(" ".join(part.split()) for part in parts)


def lines(console: Console, every_s: float) -> Look:
    """Progress for a log: a line now and then."""
    last: tuple[str, int] = ("", 0)

    def look(label: str, seconds: float, seen: list[Glimpse]) -> None:
        nonlocal last
        now = (label, int(seconds / every_s))
        if now != last:
            last = now
            console.print(progress(label, seconds, seen), markup=False, soft_wrap=True)

    return look


def _cells(row: Summary) -> list[str]:
    lived = f"{row.completed}/{row.runs}"
    return [
        f"{row.priority} {_short(row.trace)}",
        lived if row.completed == row.runs else f"[bold red]{lived}[/]",
        format_duration(row.wall_s),
        "-" if row.x_alone is None else f"{row.x_alone:.2f}",
        _microseconds(row.p95_us),
        f"{row.calls_completed}/{row.calls_planned}",
        str(row.oom_kills),
    ]


def _microseconds(time_us: float | None) -> str:
    if time_us is None or time_us >= 10_000:
        return format_duration(None if time_us is None else time_us / 1e6)
    return f"{time_us / 1000:.2f}ms"


def _short(trace: str) -> str:
    """The task without the names of its data set, organisation and run."""
    parts = trace.split("__")
    return parts[-2] if len(parts) > 2 else trace


def _title(report: Report) -> str:
    limit, speed = report.settings["limit_bytes"], report.settings["speed"]
    size = format_size(limit) if isinstance(limit, int) else "-"
    runs = report.settings["runs"]
    return f"limit {size}, speed {speed}, runs {runs}, kernel {report.machine.kernel}"
