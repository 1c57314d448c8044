# SPDX-License-Identifier: Apache-2.0
"""The regular look at what nobody announces: memory held, limits met, time passed.

Costs nothing while there are no sessions, and a bounded amount per tick however many there
are: the rest comes with the next ticks.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from agentcg.cgroups.knobs import MEMORY_EVENTS
from agentcg.daemon.service import views
from agentcg.daemon.service.accounts import measure
from agentcg.daemon.service.calls.endings import Endings
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.enforce.grants import Grants
from agentcg.daemon.service.enforce.ladder_load import note_peak
from agentcg.daemon.service.intents.intents import Intents
from agentcg.daemon.service.sessions import Sessions
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.errors import AgentcgError, CgroupGone

log = logging.getLogger(__name__)

_Subject = TypeVar("_Subject", LiveCall, LiveSession)

CALLS_PER_TICK = 128
SESSIONS_PER_TICK = 64
LEFTOVERS_PER_TICK = 64


class Sampling:
    """Looks at some calls and sessions at each tick, in turn."""

    def __init__(
        self, core: Core, endings: Endings, grants: Grants, intents: Intents, sessions: Sessions
    ) -> None:
        self._lost_session = sessions.lost
        self._core = core
        self._endings = endings
        self._grants = grants
        self._intents = intents
        self._calls: deque[LiveCall] = deque()
        self._sessions: deque[LiveSession] = deque()

    def tick(self) -> None:
        """One look. An error in one call or session keeps nobody else from being looked at."""
        registry = self._core.registry
        self._endings.remove_leftovers(LEFTOVERS_PER_TICK)
        self._intents.tick()
        self._calls = self._calls or deque(registry.calls.values())
        for _ in range(min(CALLS_PER_TICK, len(self._calls))):
            call = self._calls.popleft()
            if registry.calls.get(call.id) is call:
                self._guarded(self._endings.expire, call)
            if registry.calls.get(call.id) is call:
                self._guarded(self._look_at_call, call)
        self._sessions = self._sessions or deque(registry.sessions.values())
        for _ in range(min(SESSIONS_PER_TICK, len(self._sessions))):
            session = self._sessions.popleft()
            if registry.is_open(session):
                self._guarded(self._look_at_session, session)

    @staticmethod
    def _guarded(look: Callable[[_Subject], None], subject: _Subject) -> None:
        try:
            look(subject)
        except CgroupGone:
            pass  # the watcher, or the session's turn, tells
        except AgentcgError as error:
            log.error("%s", error)

    def _look_at_call(self, call: LiveCall) -> None:
        registry = self._core.registry
        call.memory_bytes = measure.held_now(call.cgroup)
        self._core.counts.look(call.cgroup.id)
        registry.commit(call, views.call_view(call).committed_bytes)
        events = call.cgroup.get(MEMORY_EVENTS)
        if events is None or call.state != "running":
            return
        self._core.registry.count_lease(call)
        if events.high > call.high_seen:
            call.high_seen = events.high
            if call.lease_bytes is None:
                self._grants.met_limit(call)
        self._grants.leases.ask_again(call)
        if events.oom_kill:
            self._endings.tell_oom(call)

    def _look_at_session(self, session: LiveSession) -> None:
        now = self._core.clock()
        try:
            used = measure.held_now(session.runtime) or 0
        except CgroupGone:
            self._lost_session(session)
            return
        self._core.registry.commit_runtime(session, used)
        self._core.counts.look(session.runtime.id)
        note_peak(session, now)
        self._intents.expire(session, now)
        if session.phase_until is not None and session.phase_until <= now:
            views.update_phase(self._core, session)
