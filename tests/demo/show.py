# SPDX-License-Identifier: Apache-2.0
"""The demonstration itself: the same three agents under each control, watched live."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console

from agentcg.daemon.cli.snapshot import Snapshot, take
from agentcg.daemon.cli.view.status import page
from agentcg.daemon.client import Client, socket_path
from agentcg.daemon.messages import Priority
from agentcg.daemon.replay import report as shown
from agentcg.daemon.replay.campaign import Campaign, Report, Settings
from agentcg.daemon.replay.controls import CONTROLS
from agentcg.daemon.replay.executor import Glimpse
from agentcg.daemon.replay.plan import Shape as PlanShape
from agentcg.daemon.replay.sources import find
from agentcg.units import format_size
from demo.choice import SPEED, Shape, limit_bytes

ROLES: tuple[Priority, ...] = ("high", "low", "low")
EXPLAINED = {
    "none": "one limit for all three, nothing else",
    "static": "a third of it for each",
    "agentcg": "the daemon's sessions: a cgroup for every call, by priority",
}
LIVE_S, LOG_S = 1.0, 5.0  # between two pictures
WAIT_S = 30.0  # so long an agent lets the daemon hold a call back, as a client with patience does


@dataclass
class Screen:
    """Progress and `agentcg status`, redrawn in place on a terminal, else now and then."""

    client: Client
    live: bool
    columns: int
    _drawn: int = 0
    _next_s: float = 0.0
    _control: str = ""
    _before: Snapshot | None = field(default=None)

    def look(self, label: str, seconds: float, sessions: list[Glimpse]) -> None:
        """What `Campaign` calls about five times a second."""
        control = label.partition(",")[0]
        if control != self._control:
            self._control, self._next_s, self._before = control, 0.0, None
            self.erase()
            print(f"\n{control}: {EXPLAINED[control]}", flush=True)
        if time.monotonic() < self._next_s:
            return
        lines = [shown.progress(control, max(seconds, 0.0), sessions)]
        now = take(self.client)
        if now.sessions:  # only the daemon's own: `none` and `static` have no others
            lines += ["", *(line.plain for line in page(now, self._before, self.columns)), ""]
        self._before = now
        self.erase()
        print(*(line[: self.columns] for line in lines), sep="\n", flush=True)
        self._drawn = len(lines)
        self._next_s = time.monotonic() + (LIVE_S if self.live else LOG_S)

    def erase(self) -> None:
        """Make room for the next picture where pictures replace each other."""
        if self.live and self._drawn:
            sys.stdout.write(f"\x1b[{self._drawn}F\x1b[J")
        self._drawn = 0


def show(names: Sequence[str], *, live: bool, columns: int) -> int:
    """Play `names` (one of high priority, two of low), print the table; the exit status.

    It is 1 if the high-priority agent did not survive under agentcg: then the demonstration
    shows the opposite of what it is for.
    """
    sessions = [(priority, find(name)) for priority, name in zip(ROLES, names, strict=True)]
    limit = limit_bytes(*(Shape.of(trace) for _, trace in sessions))
    settings = Settings(
        limit_bytes=limit,
        shape=PlanShape(speed=SPEED),
        socket=socket_path(),
        controls=CONTROLS,
        wait_s=WAIT_S,
    )
    print(
        f"Three agents, one of high and two of low priority, at {SPEED:.0f} times the recorded"
        f" speed; together they get {format_size(limit)} of memory, and would use more.",
        flush=True,
    )
    with Client(settings.socket) as client:
        screen = Screen(client, live, columns)
        report = Campaign(sessions, settings, screen.look).measure()
    screen.erase()
    return conclude(report, columns)


def conclude(report: Report, columns: int) -> int:
    """The table, the warnings, and what they amount to."""
    console = Console(width=max(columns, 80), highlight=False)
    console.print()
    console.print(shown.table(report))
    for warning in report.warnings:
        console.print(f"warning: {warning}")
    spared = all(
        row.completed == row.runs
        for row in report.summary
        if row.control == "agentcg" and row.priority == "high"
    )
    if not spared:
        print("The high-priority agent did not survive under agentcg.", file=sys.stderr)
    return 0 if spared else 1
