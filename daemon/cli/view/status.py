# SPDX-License-Identifier: Apache-2.0
"""The status page: a pure function of what the daemon said and of the terminal's size.

    agentcg 0.1.0 on build7  Linux 7.2.0, 2 CPUs                    daemon ok, up 2h
    memory  agents 1.2G of 6.0G  ━━━━━──────────────────────  host 4.1G free of 8.0G
    stall   memory 0%  cpu 2%  io 0%  calls 1, 17 in all     policy built-in default

    SESSION            PRIO   PHASE            TIME    MEMORY   CPU STALL STATE
    reviewer           high   calling           12s 212M/1.5G   98%    0% ok
      k3f9a2b7c1 pytest -x tests/unit           12s  96M/256M   97%    3% running

Every line fits the width; what is cut ends in an ellipsis, nothing is wrapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from agentcg.daemon.cli.snapshot import Snapshot, cpu_percents
from agentcg.daemon.cli.view import figures
from agentcg.daemon.cli.view.figures import PHASE_STYLE, PRIORITY_STYLE, percent
from agentcg.daemon.cli.view.fit import fit, pad, shorten_command
from agentcg.daemon.cli.view.header import header
from agentcg.daemon.cli.view.lists import found_table
from agentcg.daemon.messages import Account, Call, Session
from agentcg.units import format_duration, format_size

WIDE = 110  # from here on there is room for peaks and processes
NAME_MIN, NAME_MAX = 10, 30
_PRIORITY_CELLS, _PHASE_CELLS, _INDENT = 6, 8, 2
_ORDER = {"high": 0, "normal": 1, "low": 2}
NOBODY = "No sessions. The first `agentcg run -- COMMAND` opens one; see: agentcg session open -h"


@dataclass(frozen=True)
class _Figure:
    """A column of figures at the right."""

    title: str
    cells: int
    left: bool = False


_TIME = _Figure("TIME", 5)
_MEMORY = _Figure("MEMORY", 9)
_PEAK = _Figure("PEAK", 5)
_PROCESSES = _Figure("PROCS", 5)
_CPU = _Figure("CPU", 5)
_WAIT = _Figure("WAIT", 5)
_DELAY = _Figure("DELAY", 5)
_STALL = _Figure("STALL", 5)
_STATE = _Figure("STATE", 9, left=True)


def page(
    now: Snapshot,
    before: Snapshot | None,
    width: int,
    height: int | None = None,
    *,
    gone: str = "",
    calls: bool = False,
) -> list[Text]:
    """All lines of the page, each at most `width` cells, at most `height` of them if given.

    `before` is an earlier look, for CPU use; `gone` says why there is no later one; `calls`:
    calls alone, with how they were found.
    """
    lines = header(now, width, gone)
    lines.append(Text())
    if calls:
        lines += found_table(now.calls, width, now.taken_at)
    elif now.sessions:
        lines += _Rows(now, before, width).lines()
    else:
        lines.append(Text(fit(NOBODY, width), "dim"))
    if height is not None and len(lines) > height:
        left_out = len(lines) - height + 1
        lines = lines[: height - 1]
        lines.append(Text(fit(f"… {left_out} more lines; see: agentcg calls", width), "dim"))
    return lines


class _Rows:
    """Sessions, and below each its calls."""

    def __init__(self, now: Snapshot, before: Snapshot | None, width: int) -> None:
        self._now = now
        self._cpu = cpu_percents(now, before)
        wide = width >= WIDE
        extra = (_PEAK, _PROCESSES) if wide else ()
        counted = _counted(now) if wide else ()
        self._figures = (_TIME, _MEMORY, *extra, _CPU, *counted, _STALL, _STATE)
        self._left = max(NAME_MIN, width - sum(figure.cells + 1 for figure in self._figures))
        self._width = width
        longest = max(cell_len(session.name) for session in now.sessions)
        room = self._left - _PRIORITY_CELLS - _PHASE_CELLS - 2
        self._name = max(NAME_MIN, min(longest, NAME_MAX if wide else room, room))

    def lines(self) -> Iterator[Text]:
        """Titles, then each session with its calls, the important ones first."""
        yield self._titles()
        calls: dict[str, list[Call]] = {}
        for call in sorted(self._now.calls, key=_call_order):
            calls.setdefault(call.session, []).append(call)
        for session in sorted(self._now.sessions, key=lambda s: (_ORDER[s.priority], s.name)):
            yield self._session(session)
            for call in calls.get(session.name, ()):
                yield self._call(call)

    def _titles(self) -> Text:
        left = self._session_left("SESSION", "PRIO", "PHASE")
        return self._line(
            [(left, "")], {figure: (figure.title, "") for figure in self._figures}, "bold"
        )

    def _session_left(self, name: str, priority: str, phase: str) -> str:
        parts = (pad(name, self._name), pad(priority, _PRIORITY_CELLS), pad(phase, _PHASE_CELLS))
        return " ".join(parts)

    def _session(self, session: Session) -> Text:
        left = [
            (pad(session.name, self._name) + " ", "bold"),
            (pad(session.priority, _PRIORITY_CELLS) + " ", PRIORITY_STYLE[session.priority]),
            (pad(session.phase, _PHASE_CELLS), PHASE_STYLE[session.phase]),
        ]
        memory = figures.of_limit(session.memory_current_bytes, figures.session_limit(session))
        return self._line(
            left,
            {
                _TIME: (format_duration(max(0.0, self._now.taken_at - session.phase_since)), ""),
                _MEMORY: (memory, ""),
                _PEAK: (format_size(session.memory_peak_bytes), ""),
                _PROCESSES: (str(session.processes), ""),
                _CPU: (percent(self._cpu.get(session.name)), ""),
                _WAIT: (figures.total(session.scheduled), ""),
                _DELAY: (figures.total(session.delayed), ""),
                _STALL: (percent(session.pressure.memory_some_avg10), ""),
                _STATE: figures.session_state(session),
            },
        )

    def _call(self, call: Call) -> Text:
        room = self._left - _INDENT - cell_len(call.id) - 1
        left = [
            (" " * _INDENT + call.id + " ", "dim"),
            (pad(_what(call, room), room), ""),
        ]
        memory = figures.of_limit(call.account.memory_current_bytes, figures.call_limit(call))
        return self._line(
            left,
            {
                _TIME: (format_duration(max(0.0, self._now.taken_at - call.begun_at)), ""),
                _MEMORY: (memory, ""),
                _PEAK: (format_size(call.account.memory_peak_bytes), ""),
                _PROCESSES: (str(call.processes_now), ""),
                _CPU: (percent(self._cpu.get(call.id)), ""),
                _WAIT: (figures.total(call.account.scheduled), ""),
                _DELAY: (figures.total(call.account.delayed), ""),
                _STALL: (percent(figures.throttled_percent(call)), ""),
                _STATE: figures.call_state(call),
            },
        )

    def _line(
        self,
        left: list[tuple[str, str]],
        fields: dict[_Figure, tuple[str, str]],
        style: str = "",
    ) -> Text:
        line = Text(style=style, no_wrap=True, end="")
        for text, text_style in left:
            line.append(text, text_style)
        line.append(" " * (self._left - line.cell_len))
        for figure in self._figures:
            text, text_style = fields[figure]
            line.append(" " + pad(text, figure.cells, right=not figure.left), text_style)
        line.rstrip()
        line.truncate(self._width)
        return line


def _counted(now: Snapshot) -> tuple[_Figure, ...]:
    """Columns of the scheduler and of memory delay, where they are in force."""
    parts: list[Session | Account] = [*now.sessions, *(call.account for call in now.calls)]
    waits = (_WAIT,) if any(part.scheduled for part in parts) else ()
    delays = (_DELAY,) if any(part.delayed for part in parts) else ()
    return waits + delays


def _call_order(call: Call) -> tuple[bool, float, str]:
    """Running calls first, the oldest first."""
    return call.state != "running", call.begun_at, call.id


def _what(call: Call, width: int) -> str:
    tool = fit(figures.tool_prefix(call), width)
    return tool + shorten_command(call.command or call.tool, width - cell_len(tool))
