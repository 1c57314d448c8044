# SPDX-License-Identifier: Apache-2.0
"""`agentcg top` as a value: what is chosen, what a key does, and the lines to show. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from rich.text import Text

from agentcg.daemon.cli.snapshot import Snapshot, cpu_percents
from agentcg.daemon.cli.view import figures
from agentcg.daemon.cli.view.details import call_details
from agentcg.daemon.cli.view.fit import fit
from agentcg.daemon.cli.view.table import Cell, Column, table
from agentcg.daemon.messages import Call, Session
from agentcg.units import format_duration, format_size

Sort = Literal["memory", "cpu", "time", "name"]
Act = Literal["freeze", "thaw", "kill"]
SORTS: tuple[Sort, ...] = ("memory", "cpu", "time", "name")
FILTER_MAX = 60
_ACTS: dict[str, Act] = {"f": "freeze", "t": "thaw", "x": "kill"}
_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -15, "pagedown": 15}
HELP = "s sort  / filter  enter detail  f freeze  t thaw  x kill  q quit"


@dataclass(frozen=True)
class Row:
    """A session, or a call of the session above it."""

    session: Session
    call: Call | None = None

    @property
    def key(self) -> str:
        """What it is found by in the next look."""
        return self.session.name if self.call is None else self.call.id


@dataclass(frozen=True)
class View:
    """What the user has chosen. `asked`: an act that waits for its confirmation; `wanted`: one
    that is to be carried out now."""

    sort: Sort = "memory"
    filter: str = ""
    typing: bool = False
    chosen: str | None = None
    detail: bool = False
    asked: tuple[Act, str] | None = None
    wanted: tuple[Act, str] | None = None
    said: str = ""
    quit: bool = False


_CHANGES: dict[str, Callable[[View], View]] = {
    "q": lambda view: replace(view, quit=True),
    "s": lambda view: replace(view, sort=SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)]),
    "/": lambda view: replace(view, typing=True, detail=False),
    "enter": lambda view: replace(view, detail=not view.detail),
    "escape": lambda view: replace(view, detail=False, filter=""),
}


def rows(look: Snapshot, view: View, cpu: dict[str, float]) -> list[Row]:
    """Sessions in the order asked for, each with its calls; those that the filter lets through."""
    calls: dict[str, list[Call]] = {}
    for call in look.calls:
        calls.setdefault(call.session, []).append(call)
    found: list[Row] = []
    for session in sorted(look.sessions, key=lambda one: _order_of(one, view.sort, cpu)):
        inside = calls.get(session.name, [])
        inside.sort(key=lambda one: _call_order(one, view.sort, cpu))
        if not _matches(session.name, view.filter):
            inside = [one for one in inside if _matches(_searched(one), view.filter)]
            if not inside:
                continue
        found += [Row(session), *(Row(session, call) for call in inside)]
    return found


def pressed(view: View, key: str, shown: list[Row]) -> View:
    """`view` after `key`: a character, or "up", "down", "pageup", "pagedown", "enter", "escape",
    "backspace"."""
    view = replace(view, wanted=None, said="")
    if view.asked is not None:
        return replace(view, asked=None, wanted=view.asked if key == "y" else None)
    if view.typing:
        return _typed(view, key)
    if key in _STEPS:
        return _moved(view, _STEPS[key], shown)
    if key in _ACTS:
        return _asked(view, _ACTS[key], chosen_row(view, shown))
    change = _CHANGES.get(key)
    return view if change is None else change(view)


def _asked(view: View, act: Act, row: Row | None) -> View:
    if row is None or row.call is None:
        return replace(view, said="choose a call first (up, down)")
    return replace(view, asked=(act, row.call.id))


def _typed(view: View, key: str) -> View:
    if key == "enter":
        return replace(view, typing=False)
    if key == "escape":
        return replace(view, typing=False, filter="")
    if key == "backspace":
        return replace(view, filter=view.filter[:-1])
    if len(key) == 1 and key.isprintable():
        return replace(view, filter=(view.filter + key)[:FILTER_MAX])
    return view


def _moved(view: View, step: int, shown: list[Row]) -> View:
    if not shown:
        return view
    index = min(max(_index(view, shown) + step, 0), len(shown) - 1)
    return replace(view, chosen=shown[index].key)


def chosen_row(view: View, shown: list[Row]) -> Row | None:
    """The row that is marked; the first if what was marked is gone."""
    return shown[_index(view, shown)] if shown else None


def _index(view: View, shown: list[Row]) -> int:
    return next((i for i, row in enumerate(shown) if row.key == view.chosen), 0)


def lines(
    look: Snapshot,
    before: Snapshot | None,
    view: View,
    width: int,
    height: int,
    *,
    gone: str = "",
) -> list[Text]:
    """The whole screen: `height` lines of at most `width` cells."""
    cpu = cpu_percents(look, before)
    shown = rows(look, view, cpu)
    head = [_summary(look, width, gone), Text("")]
    row = chosen_row(view, shown)
    room = height - len(head) - 1
    if view.detail and row is not None and row.call is not None:
        body = call_details(row.call)[:room]
    else:
        marked = _index(view, shown) if shown else 0
        first = max(0, min(marked - (room - 1) // 2, len(shown) - (room - 1)))
        cells = [_cells(row, cpu, look.taken_at) for row in shown[first : first + room - 1]]
        body = _table(cells, marked - first, width)
    body += [Text("")] * (room - len(body))
    return [*head, *body, _foot(view, width)]


def _summary(look: Snapshot, width: int, gone: str) -> Text:
    if gone:
        return Text(fit(f"GONE: {gone}", width), style=figures.BAD)
    host = look.host
    used = figures.of_limit(host.memory_current_bytes, host.memory_max_bytes)
    text = (
        f"{host.sessions} sessions  {host.calls_running} calls  agents {used}  "
        f"host {format_size(host.memory_available_bytes)} free of "
        f"{format_size(host.memory_total_bytes)}  "
        f"stall {figures.percent(host.pressure.memory_some_avg10)}"
    )
    return Text(fit(text, width), style="bold")


def _foot(view: View, width: int) -> Text:
    if view.asked is not None:
        act, call = view.asked
        return Text(fit(f"{act} call {call}? y: yes, any other key: no", width), style=figures.WARN)
    if view.typing:
        return Text(fit(f"filter: {view.filter}_", width), style="bold")
    filtered = f"filter: {view.filter}  " if view.filter else ""
    return Text(fit(view.said or f"{filtered}by {view.sort}  {HELP}", width), style="dim")


def _table(cells: list[list[Cell]], marked: int, width: int) -> list[Text]:
    """The rows around the one that is marked: what is not seen costs nothing."""
    columns = [
        Column("SESSION / CALL", flexible=18), Column("TIME", right=True),
        Column("MEMORY", right=True), Column("CPU", right=True), Column("STALL", right=True),
        Column("STATE", flexible=6),
    ]  # fmt: skip
    painted = table(columns, cells, width)
    if cells:
        painted[marked + 1].stylize("reverse")
    return painted if cells else [Text("nothing to show", style="dim")]


def _cells(row: Row, cpu: dict[str, float], now: float) -> list[Cell]:
    session, call = row.session, row.call
    if call is None:
        memory = figures.of_limit(session.memory_current_bytes, figures.session_limit(session))
        return [
            Cell(session.name, "bold"),
            Cell(format_duration(max(0.0, now - session.phase_since))),
            Cell(memory),
            Cell(figures.percent(cpu.get(session.name))),
            Cell(figures.percent(session.pressure.memory_some_avg10)),
            _session_state(session),
        ]
    memory = figures.of_limit(call.account.memory_current_bytes, figures.call_limit(call))
    return [
        Cell(f"  {call.id} {figures.tool_prefix(call)}{call.command or call.tool}"),
        Cell(format_duration(max(0.0, now - call.begun_at))),
        Cell(memory),
        Cell(figures.percent(cpu.get(call.id))),
        Cell(figures.percent(figures.throttled_percent(call))),
        Cell(*figures.call_state(call)),
    ]


def _session_state(session: Session) -> Cell:
    """Its phase; what it waits for where the agent itself cannot go on."""
    if session.memory_wait is not None:
        return Cell(*figures.session_state(session))
    return Cell(session.phase, figures.PHASE_STYLE[session.phase])


def _searched(call: Call) -> str:
    return f"{call.id} {call.tool} {call.command or ''}"


def _matches(text: str, wanted: str) -> bool:
    return wanted.lower() in text.lower()


def _order_of(session: Session, sort: Sort, cpu: dict[str, float]) -> tuple[float, str]:
    by = {
        "memory": -(session.memory_current_bytes or 0),
        "cpu": -cpu.get(session.name, 0.0),
        "time": session.phase_since,
        "name": 0.0,
    }
    return by[sort], session.name


def _call_order(call: Call, sort: Sort, cpu: dict[str, float]) -> tuple[float, str]:
    by = {
        "memory": -(call.account.memory_current_bytes or 0),
        "cpu": -cpu.get(call.id, 0.0),
        "time": call.begun_at,
        "name": 0.0,
    }
    return by[sort], call.id
