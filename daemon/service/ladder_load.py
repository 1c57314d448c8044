# SPDX-License-Identifier: Apache-2.0
"""What the ladder sees, read from the kernel.

The root is read exactly, each time: whether anything is to be done hangs on it. Calls and
sessions are read in turn, a bounded number each time, and remembered between.
"""

from __future__ import annotations

from collections import deque

import psutil

from agentcg.cgroups.knobs import MEMORY_CURRENT, MEMORY_EVENTS
from agentcg.daemon.engine.ladder_model import CallLoad, Load, SessionLoad
from agentcg.daemon.service import measure, views
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.errors import CgroupGone

CALLS_PER_LOOK = 128
SESSIONS_PER_LOOK = 32


class Loads:
    """Takes `Load`s of the root and what is in it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._calls: deque[LiveCall] = deque()
        self._sessions: deque[LiveSession] = deque()

    def root(self) -> Load | None:
        """All sessions as one, without saying which; None without a memory controller.

        Where the rest of the host leaves less than the bound, that is the bound.
        """
        cgroup = self._core.root.cgroup
        held, current = measure.held_now(cgroup), cgroup.get(MEMORY_CURRENT)
        if held is None or current is None:
            return None
        pressure = cgroup.pressure("memory")
        available = int(psutil.virtual_memory().available)
        return Load(
            bound_bytes=min(self._core.memory_bytes(), held + available),
            held_bytes=held,
            current_bytes=current,
            stall_percent=pressure.some.avg10 if pressure else None,
            swap_free_bytes=int(psutil.swap_memory().free),
        )

    def sessions(self) -> tuple[SessionLoad, ...]:
        """All sessions and calls, some of them looked at anew."""
        self._refresh()
        registry = self._core.registry
        return tuple(self.of_session(s) for s in registry.sessions.values() if not s.closing)

    @staticmethod
    def of_session(session: LiveSession) -> SessionLoad:
        """A session and its calls, as looked at last."""
        record = session.record
        return SessionLoad(
            name=session.name,
            priority=record.priority,
            phase=session.phase,
            runtime_held_bytes=session.runtime_bytes,
            runtime_current_bytes=session.runtime_current_bytes,
            runtime_low_bytes=min(record.runtime_protect_bytes, session.protected_bytes or 0),
            calls=tuple(_call_load(call) for call in session.calls.values()),
        )

    def _refresh(self) -> None:
        registry = self._core.registry
        self._calls = self._calls or deque(registry.calls.values())
        for _ in range(min(CALLS_PER_LOOK, len(self._calls))):
            call = self._calls.popleft()
            if registry.calls.get(call.id) is call:
                self._look_at_call(call)
        self._sessions = self._sessions or deque(registry.sessions.values())
        for _ in range(min(SESSIONS_PER_LOOK, len(self._sessions))):
            session = self._sessions.popleft()
            if registry.sessions.get(session.name) is session and session.phase != "calling":
                self._look_at_session(session)

    def _look_at_call(self, call: LiveCall) -> None:
        try:
            call.memory_bytes = measure.held_now(call.cgroup)
            events = call.cgroup.get(MEMORY_EVENTS)
        except CgroupGone:
            return  # the watcher tells
        call.high_events = None if events is None else events.high
        self._core.registry.commit(call, views.call_view(call).committed_bytes)

    def _look_at_session(self, session: LiveSession) -> None:
        try:
            held = measure.held_now(session.runtime) or 0
            session.runtime_current_bytes = session.runtime.get(MEMORY_CURRENT) or 0
        except CgroupGone:
            return  # the regular look tells
        self._core.registry.commit_runtime(session, held)


def _call_load(call: LiveCall) -> CallLoad:
    grant = call.record.grant
    need, high = grant.memory_need_bytes, grant.memory_high_bytes
    return CallLoad(
        call.id, call.record.begun_at, call.state == "running", call.memory_bytes,
        high if need is None else need, high, call.high_events,
    )  # fmt: skip
