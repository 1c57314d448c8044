# SPDX-License-Identifier: Apache-2.0
"""`agentcg bench policy`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agentcg.daemon.client import socket_path
from agentcg.daemon.policybench.figures import Row
from agentcg.daemon.policybench.units import FIGURES, Asked, Bench, Kept
from agentcg.daemon.replay.options import Names, end_by_signals, option
from agentcg.daemon.replay.report import lines
from agentcg.daemon.simulate.sources import read
from agentcg.errors import InvalidInput
from agentcg.units import parse_duration, parse_size

LINE_EVERY_S = 10.0  # of progress


def policy(
    *,
    json: Annotated[Path, option("What is measured; gone on with if it is there.", "OUT")],
    traces: Annotated[Names, option("What agents play; else generated.", "DIR|TRACE")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One run, four mixes.")] = False,
    figure: Annotated[Names, option(f"Of {', '.join(FIGURES)}; else all.", "NAME")] = None,
    budget: Annotated[str, option("Begin nothing that would take longer.", "TIME")] = "1h",
    runs: Annotated[int, option("Of each mix but the drawn ones.", min=1, max=100)] = 3,
    mixes: Annotated[int, option("How many are drawn.", min=1, max=1000)] = 20,
    window: Annotated[str, option("Recorded time played of each drawn trace.", "TIME")] = "60s",
    speed: Annotated[
        float | None,
        option("Else the highest of 20, 10 and 5 that this machine keeps up with.", min=0.1),
    ] = None,
    cpu: Annotated[float, option("Share of the recorded CPU to burn.", min=0, max=1)] = 1.0,
    zram: Annotated[str, option("Swap for the cases with swap; 0: none.", "SIZE")] = "0",
    seed: Annotated[int, option("Decides the drawn mixes.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Measure what the policies are worth: survival, time and latency against no control.

    Needs root and a running daemon without other sessions, as `agentcg replay` does. What the
    figures mean: docs/benchmarks.md.

    Exit codes: 0; 1 something failed; 2 wrong options; 3 the daemon is not there.
    """
    for name in figure or ():
        if name not in FIGURES:
            raise InvalidInput("figure", name, ", ".join(FIGURES))
    if not json.parent.is_dir():
        raise InvalidInput("json", str(json), "a file in a directory that exists")
    until = time.monotonic() + parse_duration(budget, "budget")
    played = read(traces or [])
    asked = Asked(
        seed=seed, runs=1 if quick else runs, mixes=4 if quick else mixes,
        window_s=parse_duration(window, "window"), speed=speed, cpu=cpu,
        swap_bytes=parse_size(zram, "zram"), traces=len(played),
    )  # fmt: skip
    end_by_signals()
    look = None if quiet else lines(Console(stderr=True), LINE_EVERY_S)
    bench = Bench(played, asked, json, socket_path(), figure or FIGURES, look)
    show(bench.measure(until))


def show(kept: Kept) -> None:
    """The figures so far."""
    console = Console()
    late = "unknown" if kept.late_share is None else f"{kept.late_share:.1%}"
    title = f"kernel {kept.machine.kernel}, speed {kept.speed:g}, high alone late by {late}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    columns = (
        "control",
        "agents",
        "calls",
        "killed",
        "high x alone",
        "worst",
        "low",
        "P95",
        "of none",
    )
    table.add_column("figure", no_wrap=True)
    for name in columns:
        table.add_column(name, no_wrap=True, justify="right")
    found = kept.figures
    for row in [] if found is None else found.rows:
        table.add_row(row.figure, *_cells(row))
    console.print(table)
    if found is not None and found.no_pressure_ratio is not None:
        console.print(f"no pressure: total time {found.no_pressure_ratio:.3f} of none")
    if found is not None and found.storm is not None:
        storm = found.storm
        console.print(
            f"storm: high completed {storm.high_completed}/{storm.runs},"
            f" calls {storm.high_calls_completed}/{storm.high_calls},"
            f" P95 {_factor(storm.p95_ratio)} and time {_factor(storm.wall_ratio)} of alone;"
            f" offenders killed {storm.offenders_killed} of {storm.offenders_begun}"
        )
    for text in kept.warnings:
        console.print(f"[yellow]warning:[/] {text}", highlight=False)
    if kept.left_out:
        console.print(f"not reached: {', '.join(kept.left_out)}")


def _cells(row: Row) -> list[str]:
    p95 = "-" if row.high_p95_us is None else f"{row.high_p95_us / 1000:.1f}ms"
    return [
        row.control,
        f"{row.agents_completed}/{row.agents}",
        f"{row.calls_completed}/{row.calls}",
        str(row.calls_killed),
        _factor(row.high_x_alone),
        _factor(row.high_x_alone_worst),
        _factor(row.low_x_alone),
        p95,
        _factor(row.high_p95_of_none),
    ]


def _factor(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
