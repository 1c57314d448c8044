# SPDX-License-Identifier: Apache-2.0
"""The lists: sessions, calls, intents, as tables."""

from __future__ import annotations

import time
from collections.abc import Sequence

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


def calls_table(calls: Sequence[Call], width: int, now: float | None = None) -> list[Text]:
    """One line per call, the latest last."""
    moment = time.time() if now is None else now
    columns = [
        Column("ID"), Column("SESSION", flexible=8), Column("TOOL", flexible=6), Column("STATE"),
        Column("TIME", right=True), Column("MEMORY", right=True), Column("PEAK", right=True),
        Column("COMMAND", flexible=12),
    ]  # fmt: skip
    rows = [
        [
            Cell(call.id, "dim"),
            Cell(call.session),
            Cell(printable(call.tool)),
            Cell(*figures.call_state(call)),
            Cell(format_duration((call.ended_at or moment) - call.begun_at)),
            Cell(figures.of_limit(call.account.memory_current_bytes, figures.call_limit(call))),
            Cell(format_size(call.account.memory_peak_bytes)),
            Cell(printable(call.command or "")),
        ]
        for call in sorted(calls, key=lambda call: (call.begun_at, call.id))
    ]
    return table(columns, rows, width) if rows else [Text("no calls", "dim")]


def found_table(calls: Sequence[Call], width: int, now: float) -> list[Text]:
    """One line per call with how it was found and what it has used, those that run first."""
    columns = [
        Column("ID"), Column("SESSION", flexible=8), Column("FOUND", flexible=6), Column("STATE"),
        Column("TIME", right=True), Column("CPU", right=True), Column("MEMORY", right=True),
        Column("COMMAND", flexible=12),
    ]  # fmt: skip
    rows = [
        [
            Cell(call.id, "dim"),
            Cell(call.session),
            Cell(call.found + ("+" if call.shared else "")),
            Cell(*figures.call_state(call)),
            Cell(format_duration((call.ended_at or now) - call.begun_at)),
            Cell(_cpu_time(figures.cpu_us(call))),
            Cell(figures.of_limit(call.account.memory_current_bytes, figures.call_limit(call))),
            Cell(printable(figures.tool_prefix(call) + (call.command or call.tool))),
        ]
        for call in sorted(calls, key=lambda c: (c.state != "running", c.begun_at, c.id))
    ]
    return table(columns, rows, width) if rows else [Text("no calls", "dim")]


def history_table(calls: Sequence[Call], width: int) -> list[Text]:
    """One line per ended call, the latest last."""
    columns = [
        Column("ENDED"), Column("ID"), Column("SESSION", flexible=8), Column("STATE"),
        Column("TIME", right=True), Column("CPU", right=True), Column("PEAK", right=True),
        Column("COMMAND", flexible=12),
    ]  # fmt: skip
    rows = [
        [
            Cell(_clock(call.ended_at), "dim"),
            Cell(call.id, "dim"),
            Cell(call.session),
            Cell(*figures.call_state(call)),
            Cell(format_duration(call.account.wall_s)),
            Cell(_cpu_time(figures.cpu_us(call))),
            Cell(format_size(call.account.memory_peak_bytes)),
            Cell(printable(figures.tool_prefix(call) + (call.command or call.tool))),
        ]
        for call in calls
    ]
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
