# SPDX-License-Identifier: Apache-2.0
"""The lists: sessions, calls, intents, as tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.text import Text

from agentcg.daemon.cli.view import figures
from agentcg.daemon.cli.view.table import Cell, Column, table
from agentcg.daemon.client.text import printable
from agentcg.daemon.messages import Call, Intent, Session
from agentcg.units import format_duration, format_size


def sessions_table(sessions: Sequence[Session], width: int) -> list[Text]:
    """One line per session, by name."""
    columns = [
        Column("NAME", flexible=10), Column("PRIO"), Column("PHASE"),
        Column("MEMORY", right=True), Column("PEAK", right=True), Column("CPU TIME", right=True),
        Column("PROCS", right=True), Column("CALLS", right=True), Column("STATE", flexible=8),
    ]  # fmt: skip
    rows = [
        [
            Cell(session.name, "bold"),
            Cell(session.priority, figures.PRIORITY_STYLE[session.priority]),
            Cell(session.phase, figures.PHASE_STYLE[session.phase]),
            Cell(figures.of_limit(session.memory_current_bytes, figures.session_limit(session))),
            Cell(format_size(session.memory_peak_bytes)),
            Cell(_cpu_time(session.cpu_usage_us)),
            Cell(str(session.processes)),
            Cell(f"{session.calls_running}/{session.calls_total}"),
            Cell(*figures.session_state(session)),
        ]
        for session in sorted(sessions, key=lambda session: session.name)
    ]
    return table(columns, rows, width) if rows else [Text("no sessions", "dim")]


_Field = tuple[Column, Callable[[Call, float], Cell]]
"""A column of calls, and what stands in it for a call at a time."""

_ID: _Field = Column("ID"), lambda call, _: Cell(call.id, "dim")
_SESSION: _Field = Column("SESSION", flexible=8), lambda call, _: Cell(call.session)
_TOOL: _Field = Column("TOOL", flexible=6), lambda call, _: Cell(printable(call.tool))
_FOUND: _Field = (
    Column("FOUND", flexible=6), lambda call, _: Cell(call.found + ("+" if call.shared else "")),
)  # fmt: skip
_STATE: _Field = Column("STATE"), lambda call, _: Cell(*figures.call_state(call))
_ENDED: _Field = Column("ENDED"), lambda call, _: Cell(_clock(call.ended_at), "dim")
_TIME: _Field = (
    Column("TIME", right=True),
    lambda call, now: Cell(format_duration((call.ended_at or now) - call.begun_at)),
)
_CPU: _Field = Column("CPU", right=True), lambda call, _: Cell(_cpu_time(figures.cpu_us(call)))
_MEMORY: _Field = (
    Column("MEMORY", right=True),
    lambda call, _: Cell(
        figures.of_limit(call.account.memory_current_bytes, figures.call_limit(call))
    ),
)
_PEAK: _Field = (
    Column("PEAK", right=True), lambda call, _: Cell(format_size(call.account.memory_peak_bytes)),
)  # fmt: skip
_COMMAND: _Field = (
    Column("COMMAND", flexible=12), lambda call, _: Cell(printable(call.command or "")),
)  # fmt: skip
_TOOL_AND_COMMAND: _Field = (
    Column("COMMAND", flexible=12),
    lambda call, _: Cell(printable(figures.tool_prefix(call) + (call.command or call.tool))),
)


def calls_table(calls: Sequence[Call], width: int, now: float | None = None) -> list[Text]:
    """One line per call, the latest last."""
    fields = (_ID, _SESSION, _TOOL, _STATE, _TIME, _MEMORY, _PEAK, _COMMAND)
    ordered = sorted(calls, key=lambda call: (call.begun_at, call.id))
    return _lines(fields, ordered, width, time.time() if now is None else now)


def found_table(calls: Sequence[Call], width: int, now: float) -> list[Text]:
    """One line per call with how it was found and what it has used, those that run first."""
    fields = (_ID, _SESSION, _FOUND, _STATE, _TIME, _CPU, _MEMORY, _TOOL_AND_COMMAND)
    ordered = sorted(calls, key=lambda call: (call.state != "running", call.begun_at, call.id))
    return _lines(fields, ordered, width, now)


def history_table(calls: Sequence[Call], width: int) -> list[Text]:
    """One line per ended call, the latest last."""
    fields = (_ENDED, _ID, _SESSION, _STATE, _TIME, _CPU, _PEAK, _TOOL_AND_COMMAND)
    return _lines(fields, calls, width, time.time())


def _lines(fields: Sequence[_Field], calls: Sequence[Call], width: int, now: float) -> list[Text]:
    rows = [[cell(call, now) for _, cell in fields] for call in calls]
    columns = [column for column, _ in fields]
    return table(columns, rows, width) if rows else [Text("no calls", "dim")]


def _clock(seconds: float | None) -> str:
    return "-" if seconds is None else time.strftime("%d %b %H:%M:%S", time.localtime(seconds))


def intents_table(intents: Sequence[Intent], width: int, now: float | None = None) -> list[Text]:
    """One line per intent, the latest last."""
    moment = time.time() if now is None else now
    columns = [
        Column("ID"), Column("KIND"), Column("TOOL", flexible=6), Column("MEMORY", right=True),
        Column("CPU"), Column("IN", right=True), Column("FOR", right=True),
        Column("HOLDS", right=True), Column("ANSWER"), Column("COMMAND", flexible=12),
    ]  # fmt: skip
    rows = [
        [
            Cell(intent.id, "dim"),
            Cell(intent.kind),
            Cell(printable(intent.tool or "-")),
            Cell(format_size(_size(intent))),
            Cell(intent.cpu or "-"),
            Cell(format_duration(intent.start_in_s)),
            Cell(format_duration(_seconds(intent))),
            Cell(format_duration(max(0.0, intent.expires_at - moment))),
            Cell("-" if intent.offer is None else intent.offer.state),
            Cell(printable(intent.command or "")),
        ]
        for intent in sorted(intents, key=lambda intent: intent.declared_at)
    ]
    return table(columns, rows, width) if rows else [Text("no intents", "dim")]


def _size(intent: Intent) -> int | None:
    spread = intent.memory_quantiles
    return intent.memory_bytes if spread is None else spread.p90


def _seconds(intent: Intent) -> float | None:
    spread = intent.duration_quantiles
    return intent.duration_s if spread is None else spread.p50


def _cpu_time(cpu_usage_us: int | None) -> str:
    return format_duration(None if cpu_usage_us is None else cpu_usage_us / 1e6)
