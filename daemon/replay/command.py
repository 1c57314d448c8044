# SPDX-License-Identifier: Apache-2.0
"""`agentcg replay`: recorded agent work under one control or several, and what came of it."""

from __future__ import annotations

import math
import sys
from typing import Annotated, cast, get_args

import msgspec
import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from agentcg.daemon.client import socket_path
from agentcg.daemon.messages import Priority
from agentcg.daemon.replay import report as shown
from agentcg.daemon.replay.campaign import Alone, Campaign, Report, Settings
from agentcg.daemon.replay.controls import CONTROLS, ControlName
from agentcg.daemon.replay.executor import Glimpse
from agentcg.daemon.replay.options import Names, Place, end_by_signals, option
from agentcg.daemon.replay.plan import Shape
from agentcg.daemon.replay.sources import find
from agentcg.daemon.replay.trace import Trace
from agentcg.errors import AgentcgError, InvalidInput
from agentcg.units import parse_size

SESSIONS_MAX = 64
CHUNK_MIN_BYTES = 64 << 10
CHUNK_MAX_BYTES = 64 << 20
LIMIT_MIN_BYTES = 32 << 20
LINE_EVERY_S = 5.0  # of progress, in a log


def replay(
    *,
    high: Annotated[Names, option("A session of high priority.", "TRACE")] = None,
    normal: Annotated[Names, option("A session of normal priority.", "TRACE")] = None,
    low: Annotated[Names, option("A session of low priority.", "TRACE")] = None,
    limit: Annotated[str, option("Memory of all sessions together.", "SIZE")] = "1100M",
    speed: Annotated[float, option("Recorded seconds a second.", min=0.1, max=1000)] = 50.0,
    control: Annotated[Names, option("none, static, agentcg or all.", "NAME")] = None,
    runs: Annotated[int, option("How often.", min=1, max=1000)] = 1,
    seed: Annotated[int, option("Decides the starts within --stagger.")] = 0,
    alone: Annotated[str, option("Also alone: no, high, each.", "WHICH")] = "no",
    base_extra: Annotated[str, option("On top of each recorded base.", "SIZE")] = "0",
    alloc_chunk: Annotated[str, option("Size of one allocation.", "SIZE")] = "1M",
    cpu: Annotated[float, option("Share of the recorded CPU to burn.", min=0, max=1)] = 1.0,
    stagger: Annotated[
        float, option("Spread the starts over so many recorded seconds.", min=0, max=86400)
    ] = 0.0,
    wait: Annotated[float, option("Seconds a call may wait for room.", min=0, max=600)] = 0.0,
    swap: Annotated[bool, typer.Option("--swap", help="Let sessions swap.")] = False,
    traces: Annotated[Place, option("Where traces are looked for.", "DIR")] = None,
    cgroup: Annotated[Place, option("Parent for none and static.", "PATH")] = None,
    json: Annotated[Place, option("Write all results here.", "OUT")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Play recorded agent work as real load and compare controls.

    TRACE is a file, a name in --traces, or gen:SEED. Sessions share --limit. What the figures
    mean: docs/benchmarks.md.
    """
    settings = Settings(
        limit_bytes=_size(limit, "limit", LIMIT_MIN_BYTES),
        shape=Shape(
            speed=_number(speed, "speed"),
            chunk_bytes=_chunk(alloc_chunk),
            base_extra_bytes=_size(base_extra, "base-extra", 0),
            cpu=_number(cpu, "cpu"),
            stagger_s=_number(stagger, "stagger"),
        ),
        socket=socket_path(),
        controls=_controls(control or ["agentcg"]),
        runs=runs,
        seed=seed,
        alone=_alone(alone),
        swap=swap,
        wait_s=_number(wait, "wait"),
        cgroup=cgroup,
    )
    named = {"high": high or [], "normal": normal or [], "low": low or []}
    sessions = [
        (cast(Priority, priority), find(name, traces))
        for priority, names in named.items()
        for name in names
    ]
    if not 1 <= len(sessions) <= SESSIONS_MAX:
        raise InvalidInput(
            "sessions", len(sessions), f"1 to {SESSIONS_MAX}: --high, --normal, --low"
        )
    if json is not None and not json.parent.is_dir():
        raise InvalidInput("json", str(json), "a file in a directory that exists")
    report = _measure(sessions, settings, quiet=quiet)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    console = Console()
    console.print(shown.table(report))
    for warning in report.warnings:
        console.print(f"[yellow]warning:[/] {warning}")


def _measure(sessions: list[tuple[Priority, Trace]], settings: Settings, *, quiet: bool) -> Report:
    """The whole measurement; a signal to end it is obeyed after cleaning up."""
    end_by_signals()
    console = Console(stderr=True)
    if quiet:
        return Campaign(sessions, settings).measure()
    if not console.is_terminal:
        return Campaign(sessions, settings, shown.lines(console, LINE_EVERY_S)).measure()
    # No refresh thread: agents are born by clone3, which wants a single-threaded parent.
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def look(label: str, seconds: float, seen: list[Glimpse]) -> None:
            live.update(Text(shown.progress(label, seconds, seen)), refresh=True)

        return Campaign(sessions, settings, look).measure()


def _size(text: str, field: str, lowest: int) -> int:
    size_bytes = parse_size(text, field)
    if size_bytes < lowest:
        raise InvalidInput(field, text, f"at least {lowest >> 20}M")
    return size_bytes


def _number(value: float, field: str) -> float:
    if math.isnan(value):  # click before 8.2 finds it within any bounds
        raise InvalidInput(field, value, "a number")
    return value


def _chunk(text: str) -> int:
    size_bytes = parse_size(text, "alloc-chunk")
    if not CHUNK_MIN_BYTES <= size_bytes <= CHUNK_MAX_BYTES or size_bytes % CHUNK_MIN_BYTES:
        raise InvalidInput("alloc-chunk", text, "64K to 64M in steps of 64K")
    return size_bytes


def _controls(names: list[str]) -> tuple[ControlName, ...]:
    wanted = CONTROLS if "all" in names else tuple(dict.fromkeys(names))
    for name in wanted:
        if name not in CONTROLS:
            raise InvalidInput("control", name, "none, static, agentcg or all")
    return cast(tuple[ControlName, ...], wanted)


def _alone(name: str) -> Alone:
    if name not in get_args(Alone):
        raise InvalidInput("alone", name, "no, high or each")
    return cast(Alone, name)


def main() -> None:
    """`python -m agentcg.daemon.replay`."""
    try:
        typer.run(replay)
    except AgentcgError as error:
        print(f"replay: {error}", file=sys.stderr)
        raise SystemExit(2 if error.code in ("invalid-input", "trace") else 1) from error
