# SPDX-License-Identifier: Apache-2.0
"""Leases of agents in force: `memory.high` of runtime leaves, and hearing when one is met."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from agentcg.cgroups import MAX, Limits
from agentcg.cgroups.knobs import MEMORY_EVENTS
from agentcg.daemon.engine.ladder_model import Load
from agentcg.daemon.engine.ladder_words import agent_waits
from agentcg.daemon.engine.leases import MET_FROM
from agentcg.daemon.service import audit
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.enforce.ladder_apply import Hands
from agentcg.daemon.service.enforce.ladder_load import Loads
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import AgentcgError, CgroupError, CgroupGone

log = logging.getLogger(__name__)


class AgentLeases:
    """Knows and changes them. `on_asked`: an agent is held up, so the ladder decides."""

    def __init__(
        self, core: Core, loads: Loads, hands: Hands, on_asked: Callable[[], None]
    ) -> None:
        self._core = core
        self._loads = loads
        self._hands = hands
        self._on_asked = on_asked
        self._failed: set[LiveSession] = set()  # whose lease could not be written
        self._waiting: frozenset[str] = frozenset()

    def apply(self, leases: Mapping[str, int | None]) -> None:
        """Put new leases in force, and those that failed at an earlier look; None: none from now
        on."""
        self._failed = {one for one in self._failed if self._core.registry.is_open(one)}
        again = [session for session in self._failed if session.name not in leases]
        for name, lease_bytes in leases.items():
            session = self._core.registry.sessions.get(name)
            if session is not None and not session.closing:
                session.runtime_lease_bytes, session.runtime_met = lease_bytes, False
                again.append(session)
        for session in again:
            self._write(session)

    def _write(self, session: LiveSession) -> None:
        try:
            self._hands.bound_agent(
                session.runtime, lambda: _limits(session), partial(self._written, session)
            )
        except OSError as error:  # no descriptor is left for the thread
            self._written(session, CgroupError(str(session.runtime.path), "", "", error.errno))

    def _written(self, session: LiveSession, error: AgentcgError | None) -> None:
        if not self._core.registry.is_open(session):
            return
        error = error or self._watch(session)
        if error is None:
            self._failed.discard(session)
        elif session not in self._failed:
            self._failed.add(session)
            log.error("the lease of agent %s is tried again and again: %s", session.name, error)

    def _watch(self, session: LiveSession) -> AgentcgError | None:
        """Hear of the next time that the lease is met: what was met until now is that of before."""
        try:
            if session.runtime_lease_bytes is not None:
                self._core.watcher.watch_memory(session.runtime, session)
        except CgroupGone:
            return None  # its turn of the regular look tells
        except AgentcgError as error:
            return error
        return None

    def news(self, session: LiveSession) -> None:
        """`memory.events` of the runtime leaf may have changed."""
        if session.runtime_lease_bytes is None or not self._core.registry.is_open(session):
            return
        with suppress(CgroupGone):
            events = session.runtime.get(MEMORY_EVENTS)
            if events is None or events.high == session.runtime_high_events:
                self._core.watcher.rearm(session)
                return
            session.runtime_high_events = events.high
            session.runtime_met = True
            self._loads.look_at_session(session)
            self._on_asked()

    def rest(self) -> None:
        """Who was held up and holds less by now is to be heard of again."""
        for session in self._core.registry.sessions.values():
            lease = session.runtime_lease_bytes
            if (
                session.runtime_met and lease is not None
                and session.runtime_current_bytes < MET_FROM * lease
            ):  # fmt: skip
                session.runtime_met = False
                self._core.watcher.rearm(session)

    def note(self, load: Load, waiting: Mapping[str, float]) -> None:
        """Who waits, and since when: it is told of those who did not before."""
        sessions = self._core.registry.sessions
        for name in self._waiting - waiting.keys():
            if (session := sessions.get(name)) is not None:
                session.runtime_waits_since = None
        for name, since in waiting.items():
            if (session := sessions.get(name)) is not None:
                if session.runtime_waits_since is None:
                    self._tell(load, session)
                session.runtime_waits_since = since
        self._waiting = frozenset(waiting)

    def _tell(self, load: Load, session: LiveSession) -> None:
        text = agent_waits(load, session.runtime_bytes)
        audit.agent_waits(self._core, session, text)
        self._core.publish("session.slowed", text, session)
        log.info("%s: %s", session.name, text)

    def release(self) -> None:
        """No agent has a lease any more, and none waits for a longer one."""
        sessions = self._core.registry.sessions.values()
        self.apply({s.name: None for s in sessions if s.runtime_lease_bytes is not None})
        for session in sessions:
            session.runtime_waits_since = None
        self._waiting = frozenset()


def _limits(session: LiveSession) -> Limits:
    lease = session.runtime_lease_bytes
    return Limits(memory_high=MAX if lease is None else lease)
