# SPDX-License-Identifier: Apache-2.0
"""What the ladder sees, read from the kernel.

The root is read exactly, each time: whether anything is to be done hangs on it. Calls and
sessions are read in turn, a bounded number each time, and remembered between.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from agentcg.cgroups.knobs import MEMORY_CURRENT
from agentcg.daemon.engine import leases
from agentcg.daemon.engine.ladder_model import MIB, CallLoad, Load, SessionLoad
from agentcg.daemon.service.accounts import measure
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.host.hostview import Memory
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.errors import CgroupGone

CALLS_PER_LOOK = 128
SESSIONS_PER_LOOK = 32
BRIEF_S = 0.1


class Loads:
    """Takes `Load`s of the root and what is in it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._calls: deque[LiveCall] = deque()
        self._sessions: deque[LiveSession] = deque()
        self._available = self._cache = 0
        self._looked_at = float("-inf")

    def root(self) -> Load | None:
        """All sessions as one, without saying which; None without a memory controller.

        Where the rest of the host leaves less than the bound, that is the bound.
        """
        cgroup = self._core.root.cgroup
        held, current = measure.held_now(cgroup), cgroup.get(MEMORY_CURRENT)
        if held is None or current is None:
            return None
        pressure, host = cgroup.pressure("memory"), Memory.read()
        self._available = host.available
        self._cache, self._looked_at = max(current - held, 0), time.monotonic()
        return Load(
            bound_bytes=min(self._core.memory_bytes(), held + self._available),
            held_bytes=held,
            current_bytes=current,
            stall_percent=pressure.some.avg10 if pressure else None,
            swap_free_bytes=host.swap_free,
            promised_bytes=self._core.registry.promised_bytes,
            reach_bytes=self._core.registry.reach_bytes,
        )

    def brief(self) -> Load | None:
        """As `root`, for what happens at every call: two of the numbers as they are, the rest
        (page cache, the host) as read a moment ago."""
        if time.monotonic() - self._looked_at > BRIEF_S:
            return self.root()
        current = self._core.root.cgroup.get(MEMORY_CURRENT) or 0
        held = max(current - self._cache, 0)
        return Load(
            bound_bytes=min(self._core.memory_bytes(), held + self._available),
            held_bytes=held,
            current_bytes=current,
            promised_bytes=self._core.registry.promised_bytes,
            reach_bytes=self._core.registry.reach_bytes,
        )

    def sessions(self, look_at: Callable[[LiveCall], None]) -> tuple[SessionLoad, ...]:
        """All sessions and calls, some of them looked at anew."""
        self._refresh(look_at)
        registry = self._core.registry
        return tuple(self.of_session(s) for s in registry.sessions.values() if not s.closing)

    def of_session(self, session: LiveSession) -> SessionLoad:
        """A session and its calls, as looked at last."""
        record = session.record
        return SessionLoad(
            name=session.name,
            priority=record.priority,
            phase=session.phase,
            runtime_held_bytes=session.runtime_bytes,
            runtime_current_bytes=session.runtime_current_bytes,
            runtime_low_bytes=min(record.runtime_protect_bytes, session.protected_bytes or 0),
            calls=tuple(call_load(call) for call in session.calls.values()),
            peak_bytes=int(session.peak_bytes),
            weight=self.turn(session),
            room_bytes=self.own_room(session),
            steps=record.steps,
            runtime_lease_bytes=session.runtime_lease_bytes,
            runtime_met=session.runtime_met,
        )

    def turn(self, session: LiveSession) -> float:
        """Who of equal priority is served first, the larger before: whose user or tenant holds the
        least for its weight, and of these the session of the largest weight."""
        held = max(self._core.registry.held_by[session.owners[0]], MIB)
        return session.owner_weight / held * session.record.weight

    def own_room(self, session: LiveSession) -> int | None:
        """What bounds of the session, its user and its tenant leave it beyond what it holds and
        what others of them may grow by; None: there are none."""
        rooms = []
        record = session.record
        for most in (record.memory_max_bytes, record.memory_high_bytes):
            if most is not None:
                rooms.append(most - held_bytes(session))
        if session.caps_bytes:
            own = sum(call.promised_bytes for call in session.calls.values())
            held_by = self._core.registry.held_by
            rooms += [most - held_by[owner] + own for owner, most in session.caps_bytes]
        return min(rooms, default=None)

    def _refresh(self, look_at: Callable[[LiveCall], None]) -> None:
        registry, now = self._core.registry, self._core.clock()
        self._calls = self._calls or deque(registry.calls.values())
        for _ in range(min(CALLS_PER_LOOK, len(self._calls))):
            call = self._calls.popleft()
            if registry.calls.get(call.id) is call:
                with suppress(CgroupGone):  # the watcher tells
                    look_at(call)
        self._sessions = self._sessions or deque(registry.sessions.values())
        for _ in range(min(SESSIONS_PER_LOOK, len(self._sessions))):
            session = self._sessions.popleft()
            if registry.sessions.get(session.name) is session:
                self.look_at_session(session)
                note_peak(session, now)

    def look_at_session(self, session: LiveSession) -> None:
        """Read what its agent holds."""
        try:
            held = measure.held_now(session.runtime) or 0
            session.runtime_current_bytes = session.runtime.get(MEMORY_CURRENT) or 0
        except CgroupGone:
            return  # the regular look tells
        self._core.registry.commit_runtime(session, held)


def note_peak(session: LiveSession, now: float) -> None:
    """Remember the most that a session held; the part above what it holds now fades."""
    held = held_bytes(session)
    session.peak_bytes = leases.faded_peak(session.peak_bytes, held, now - session.peak_at)
    session.peak_at = now


def held_bytes(session: LiveSession) -> int:
    """By the agent and all of its calls, at the last look."""
    calls = sum(call.memory_bytes or 0 for call in session.calls.values())
    return session.runtime_bytes + calls


def call_load(call: LiveCall) -> CallLoad:
    """A call, as looked at last."""
    grant = call.record.grant
    need, high = grant.memory_need_bytes, grant.memory_high_bytes
    return CallLoad(
        call.id, call.record.begun_at, call.state == "running", call.memory_bytes,
        high if need is None else need, grant.memory_max_bytes, call.high_events,
        call.lease_bytes, call.met, call.ceiling_bytes, call.still, call.processes,
    )  # fmt: skip
