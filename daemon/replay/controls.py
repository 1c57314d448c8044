# SPDX-License-Identifier: Apache-2.0
"""Three ways to bound sessions that share one limit: `none`, `static`, `agentcg`.

`none`: one cgroup with memory.max = limit, a cgroup in it for each session, nothing else. `static`:
each session also has memory.max = limit / N. What a container host does today is one of these; in
both, calls run in the agent's own cgroup. `agentcg`: the daemon's sessions, with their priorities,
under a host bound of the same size.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentcg.cgroups import Cgroup, Limits, Usage
from agentcg.daemon.client import Client
from agentcg.daemon.client.child import OOM_SCORE_ADJ_RAISE
from agentcg.daemon.messages import OpenSession, Priority
from agentcg.errors import CgroupGone, Conflict, NotFound

ControlName = Literal["none", "static", "agentcg"]
CONTROLS: tuple[ControlName, ...] = ("none", "static", "agentcg")
PREFIX = "replay-"
KILL_TIMEOUT_S = 5.0
BOUND_LABEL = "agentcg/replay-bound"  # what the host bound was before
_CONTROLLERS = ("memory", "cpu", "pids")


@dataclass(frozen=True)
class Place:
    """Where one session lives."""

    session: Cgroup  # read for figures, killed as a whole
    runtime: Cgroup  # the agent is born here
    name: str | None = None  # at the daemon
    call_oom_score_adj: int = 0


class Control(ABC):
    """Makes room for sessions and takes it away again; a context manager."""

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def open(self, priorities: list[Priority]) -> list[Place]:
        """A place for each session, the limit in force."""

    @abstractmethod
    def usage(self) -> Usage:
        """Of all sessions together: the cgroup that has the limit. Counts from its creation."""

    @abstractmethod
    def close(self) -> None:
        """Kill what still runs and remove everything that `open` made."""


class Plain(Control):
    """`none`, or `static` with `equal_parts`."""

    def __init__(self, parent: Path, limit_bytes: int, *, equal_parts: bool, swap: bool) -> None:
        self._parent = Cgroup.open(parent)
        self._limit_bytes = limit_bytes
        self._equal_parts = equal_parts
        self._swap_max = None if swap else 0
        self._name = f"{PREFIX}{os.getpid()}"
        self._group: Cgroup | None = None
        self._places: list[Place] = []

    def open(self, priorities: list[Priority]) -> list[Place]:
        """See `Control`."""
        sweep(self._parent)
        self._parent.enable(_CONTROLLERS)
        self._group = self._parent.create(self._name)
        self._group.enable(_CONTROLLERS)
        self._group.apply(Limits(memory_max=self._limit_bytes, memory_swap_max=self._swap_max))
        for number, priority in enumerate(priorities, 1):
            session = self._group.create(f"{priority}-{number}")
            self._places.append(Place(session, session))
            if self._equal_parts:
                session.apply(Limits(memory_max=self._limit_bytes // len(priorities)))
        return self._places

    def usage(self) -> Usage:
        """See `Control`."""
        if self._group is None:
            raise RuntimeError("open() comes first")
        return self._group.usage()

    def close(self) -> None:
        """See `Control`."""
        for place in self._places:
            place.session.close()
        if self._group is not None:
            self._group.close()
            self._parent.remove_tree(self._name)
        self._parent.close()


def sweep(parent: Cgroup) -> None:
    """Remove what a replay that was itself killed has left behind."""
    for name in parent.children():
        pid = name.removeprefix(PREFIX)
        if name != pid and pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            parent.remove_tree(name)


class Governed(Control):
    """`agentcg`: sessions of a running daemon that has no others."""

    def __init__(self, client: Client, limit_bytes: int, *, swap: bool) -> None:
        self._client = client
        self._limit_bytes = limit_bytes
        self._swap = swap
        self._opened: list[str] = []
        self._places: list[Place] = []
        make_way(client)
        host = client.host()
        self._bound_before = host.memory_max_bytes
        self._root = Cgroup.open(host.cgroup)

    def open(self, priorities: list[Priority]) -> list[Place]:
        """See `Control`."""
        self._client.set_host_memory_max(self._limit_bytes)
        for number, priority in enumerate(priorities, 1):
            name = f"{PREFIX}{os.getpid()}-{priority}-{number}"
            request = OpenSession(
                name=name, priority=priority, labels={BOUND_LABEL: str(self._bound_before or "")}
            )
            session = self._client.open_session(request)
            self._opened.append(name)
            place = Place(
                session=Cgroup.open(session.cgroup),
                runtime=Cgroup.open(session.runtime),
                name=name,
                call_oom_score_adj=OOM_SCORE_ADJ_RAISE,
            )
            self._places.append(place)
            if not self._swap:
                place.session.apply(Limits(memory_swap_max=0))
        return self._places

    def usage(self) -> Usage:
        """See `Control`."""
        return self._root.usage()

    def close(self) -> None:
        """See `Control`."""
        try:
            for place in self._places:
                _empty(place.session)
                place.runtime.close()
                place.session.close()
            for name in self._opened:
                with suppress(NotFound):
                    self._client.close_session(name)
        finally:
            self._root.close()
            self._client.set_host_memory_max(self._bound_before)


def make_way(client: Client) -> None:
    """Close what a killed replay left, with the bound it found. Raises `Conflict` where there are
    sessions of others."""
    others: list[str] = []
    for session in client.sessions():
        pid = session.name.removeprefix(PREFIX).partition("-")[0]
        if BOUND_LABEL not in session.labels or Path(f"/proc/{pid}").exists():
            others.append(session.name)
            continue
        with Cgroup.open(session.cgroup) as cgroup:
            _empty(cgroup)
        client.close_session(session.name)
        bound = session.labels[BOUND_LABEL]
        client.set_host_memory_max(int(bound) if bound.isdecimal() else None)
    if others:
        raise Conflict(
            f"the daemon has other sessions: {', '.join(others[:5])}",
            remedy="replay bounds all sessions of the host together; close these first",
        )


def _empty(cgroup: Cgroup) -> None:
    """Nothing lives in `cgroup` any more, if it still is there."""
    with suppress(CgroupGone):
        cgroup.kill()
        cgroup.wait_empty(KILL_TIMEOUT_S)
