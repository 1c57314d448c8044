# SPDX-License-Identifier: Apache-2.0
"""What the scheduler does for the tasks of one session, while somebody reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from agentcg.bpf import turns
from agentcg.bpf.scheduler import Scheduler
from agentcg.daemon.messages import Turn
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.host.peers import Peer, require_admin
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import Conflict


class Tracing:
    """Traces one session at a time, from `start` to `stop`: the kernel has one ring for all."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._scheduler: Scheduler | None = None
        self._traced: LiveSession | None = None

    def start(self, scheduler: Scheduler) -> None:
        """This one is in charge."""
        self._scheduler = scheduler

    def stop(self) -> None:
        """It goes: who reads is told with the next look."""
        self._scheduler = None

    @contextmanager
    def of(self, peer: Peer, name: str) -> Iterator[Trace]:
        """The session's turns for as long as the block lasts."""
        session = self._core.authorised(peer, name)
        require_admin(peer, "trace a session")
        scheduler = self._scheduler
        if scheduler is None:
            raise Conflict(
                "agentcg's scheduler is not in charge", remedy="`agentcg sched status` says why"
            )
        if self._traced is not None:
            raise Conflict(
                f"session {self._traced.name!r} is traced already",
                remedy="one session is traced at a time",
            )
        self._traced = session
        scheduler.turns.trace(session.cgroup.id)
        try:
            yield Trace(self, session, scheduler)
        finally:
            self._traced = None
            if self.is_held_by(scheduler):
                scheduler.turns.trace(None)

    def is_held_by(self, scheduler: Scheduler) -> bool:
        """Whether this one is still in charge."""
        return self._scheduler is scheduler


class Trace:
    """The turns of one session."""

    def __init__(self, tracing: Tracing, session: LiveSession, scheduler: Scheduler) -> None:
        self._tracing = tracing
        self._session = session
        self._scheduler = scheduler
        self._lost = scheduler.stats().events_lost

    def take(self) -> list[Turn] | None:
        """What there is since the last time; None: the session or the scheduler is gone."""
        if self._session.closed or not self._tracing.is_held_by(self._scheduler):
            return None
        found = self._scheduler.turns.read()
        lost = self._scheduler.stats().events_lost
        missing = lost - self._lost
        if found:  # else it is told with the next turn
            self._lost = lost
        calls = {call.cgroup.id: call.id for call in self._session.calls.values()}
        epoch_s = time.time() - time.monotonic()
        return [
            turn_of(one, calls.get(one.cgroup_id), epoch_s, missing if n == 0 else 0)
            for n, one in enumerate(found)
        ]


def turn_of(turn: turns.Turn, call: str | None, epoch_s: float, lost: int) -> Turn:
    """`turn` as the API says it; `epoch_s`: when CLOCK_MONOTONIC began."""
    return Turn(
        time=epoch_s + turn.ended_ns / 1e9,
        call=call,
        pid=turn.pid,
        comm=turn.comm,
        cpu=turn.cpu,
        waited_us=turn.waited_ns // 1000,
        ran_us=turn.ran_ns // 1000,
        delayed_us=turn.delayed_ns // 1000,
        boosted=turn.boosted,
        lost=lost,
    )
