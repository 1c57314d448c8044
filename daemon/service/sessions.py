# SPDX-License-Identifier: Apache-2.0
"""Open, list and close sessions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pwd
from functools import lru_cache

from agentcg.daemon.engine import wanted
from agentcg.daemon.messages import OpenSession, Session, SessionList
from agentcg.daemon.service import bounds, measure, views
from agentcg.daemon.service.core import Core, new_id
from agentcg.daemon.service.endings import Endings
from agentcg.daemon.service.grants import Grants
from agentcg.daemon.service.limits import runtime_limits, session_limits
from agentcg.daemon.service.mover import Mover
from agentcg.daemon.service.peers import Peer, held_processes, may_act
from agentcg.daemon.service.records import (
    SESSION_MARK,
    TALLY,
    SessionRecord,
    encode,
)
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import AgentcgError, CgroupError, CgroupGone, Conflict, LimitExceeded
from agentcg.policies import SessionFacts, SessionRule

log = logging.getLogger(__name__)

RUNTIME = "runtime"
_PAUSE_S = 0.01


class Sessions:
    """What the API can do with sessions."""

    def __init__(self, core: Core, endings: Endings, mover: Mover, grants: Grants) -> None:
        self._core = core
        self._endings = endings
        self._mover = mover
        self._grants = grants

    async def open(self, peer: Peer, request: OpenSession) -> tuple[Session, bool]:
        """Open a session, or find it by name; whether it is new. Places `pids` either way.

        Raises `Forbidden` (another user's session or process), `InvalidInput` (pid),
        `LimitExceeded`; then nothing is left behind.
        """
        found = self._core.registry.sessions.get(request.name)
        if found is not None:
            self._core.authorised(peer, request.name)
            self._check_open(found)
        with held_processes(peer, request.pids) as held:
            session = found or self._create(peer, request)
            try:
                for pidfd, pid in zip(held, request.pids, strict=True):
                    await self._mover.place(session, session.runtime, pidfd, pid)
            except AgentcgError:
                if found is None and self._is_unused(session):
                    self._remove(session)
                raise
        return measure.session_view(session), found is None

    @staticmethod
    def _check_open(session: LiveSession) -> None:
        if session.closing:
            raise Conflict(f"session {session.name!r} is being closed")

    @staticmethod
    def _is_unused(session: LiveSession) -> bool:
        """Whether nothing lives in it, is on its way into it, or removes it."""
        if session.closing or session.placing or session.calls:
            return False
        return not session.cgroup.events().populated

    def _create(self, peer: Peer, request: OpenSession) -> LiveSession:
        core = self._core
        self._check_room(peer)
        facts = SessionFacts(
            name=request.name,
            uid=peer.uid,
            user=user_name(peer.uid),
            memory_bytes=core.memory_bytes(),
            labels=request.labels,
            asked_priority=request.priority,
            asked_weight=request.weight,
        )
        rule = core.policy.policy.session(facts)
        record = SessionRecord(
            id=new_id(),
            name=request.name,
            uid=peer.uid,
            priority=rule.priority,
            weight=rule.weight,
            labels=request.labels,
            opened_at=core.clock(),
            rule=rule.rule,
            calls_max=rule.max_calls,
            memory_max_bytes=rule.memory_max,
            protect_bytes=wanted(request.name, rule).wanted_bytes,
            runtime_protect_bytes=rule.runtime_memory_low,
        )
        session = self._make(record, rule)
        core.registry.add_session(session)
        self._grants.share_protection()
        core.publish("session.opened", f"priority {record.priority}", session)
        views.update_phase(core, session)
        return session

    def _check_room(self, peer: Peer) -> None:
        registry = self._core.registry
        if len(registry.sessions) >= bounds.SESSIONS_MAX:
            raise LimitExceeded(
                f"this host has {bounds.SESSIONS_MAX} sessions", remedy="close some first"
            )
        if registry.sessions_by_uid[peer.uid] >= bounds.SESSIONS_PER_UID_MAX:
            raise LimitExceeded(
                f"uid {peer.uid} has {bounds.SESSIONS_PER_UID_MAX} sessions",
                remedy="close some first",
            )

    def _make(self, record: SessionRecord, rule: SessionRule) -> LiveSession:
        """The cgroups: first the mark, then limits, then the runtime leaf."""
        core, root = self._core, self._core.root.cgroup
        try:
            cgroup = root.create(record.name)
        except CgroupError as error:
            raise Conflict(
                f"{root.path}/{record.name} exists and is not a session: {error.message}",
                remedy="choose another name",
            ) from error
        runtime = None
        try:
            cgroup.set_attr(SESSION_MARK, encode(record))
            cgroup.enable(core.root.controllers)
            cgroup.apply(core.enforceable(session_limits(rule, 0)))
            runtime = cgroup.create(RUNTIME)
            runtime.apply(core.enforceable(runtime_limits(rule, 0)))
        except AgentcgError:
            for handle in (runtime, cgroup):
                if handle is not None:
                    handle.close()
            root.remove_tree(record.name)
            raise
        return LiveSession(
            record, cgroup, runtime, phase_since=record.opened_at, active_at=record.opened_at
        )

    def get(self, peer: Peer, name: str) -> Session:
        """One session, as it is now."""
        return measure.session_view(self._core.authorised(peer, name))

    async def list(self, peer: Peer) -> SessionList:
        """All sessions that the peer may see, in the order in which they were opened."""
        views = []
        for number, session in enumerate(list(self._core.registry.sessions.values())):
            if may_act(peer, session.uid, str(session.cgroup.path)) and not session.closing:
                views.append(measure.session_view(session))
            if number % 16 == 15:
                await asyncio.sleep(0)  # a long list must not hold up begins and ends
        return SessionList(sessions=views)

    # --- Close ---

    async def close(self, peer: Peer, name: str, *, kill: bool) -> None:
        """Close a session. Raises `Conflict` while processes live in it, unless `kill`."""
        session = self._core.authorised(peer, name)
        self._check_open(session)
        if not kill and (session.placing or session.cgroup.events().populated):
            raise Conflict(
                f"session {name!r} still has {measure.processes_in(session)} processes",
                remedy="end them first, or close it with kill=true",
            )
        session.closing = True
        try:
            await self._emptied(session, kill=kill)
        except BaseException:
            session.closing = False
            raise
        self._finish(session)

    @staticmethod
    async def _emptied(session: LiveSession, *, kill: bool) -> None:
        """Wait until nothing lives in it; with `kill` also what arrives meanwhile is killed."""
        try:
            async with asyncio.timeout(bounds.CLOSE_TIMEOUT_S):
                while session.placing or session.cgroup.events().populated:
                    if kill:
                        session.cgroup.kill()
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            raise Conflict(
                f"session {session.name!r} has processes after {bounds.CLOSE_TIMEOUT_S:.0f} s",
                remedy="they do not die (uninterruptible sleep); try again later",
            ) from None
        except CgroupGone:
            pass

    def _finish(self, session: LiveSession) -> None:
        core = self._core
        for call in list(session.calls.values()):
            self._endings.close(call)
        core.registry.drop_session(session)
        core.root.cgroup.set_attr(TALLY, str(core.registry.calls_closed).encode())
        self._remove_cgroups(session)
        self._grants.share_protection()
        core.publish("session.closed", f"{session.calls_total} calls in all", session)

    def lost(self, session: LiveSession) -> None:
        """Somebody else removed the session's cgroups: nothing of it is left to keep."""
        log.warning("%s was removed by somebody else", session.cgroup.path)
        session.closing = True
        self._finish(session)

    def _remove(self, session: LiveSession) -> None:
        self._core.registry.drop_session(session)
        self._remove_cgroups(session)

    def _remove_cgroups(self, session: LiveSession) -> None:
        """Remove what is left, cgroups included that processes of the session made in it."""
        session.closed = True
        session.runtime.close()
        session.cgroup.close()
        with contextlib.suppress(CgroupGone):
            self._core.root.cgroup.remove_tree(session.name)


@lru_cache(maxsize=256)
def user_name(uid: int) -> str | None:
    """Name of a user, for policy rules."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
