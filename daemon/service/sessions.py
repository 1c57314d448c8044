# SPDX-License-Identifier: Apache-2.0
"""Open, list and close sessions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence

import msgspec

from agentcg.cgroups import find_mount
from agentcg.cgroups.origin import origin
from agentcg.daemon.engine import wanted
from agentcg.daemon.messages import OpenSession, Session, SessionList
from agentcg.daemon.service import bounds, views
from agentcg.daemon.service.accounts import measure, totals
from agentcg.daemon.service.calls.endings import Endings
from agentcg.daemon.service.clock import CLOCK
from agentcg.daemon.service.core import Core, new_id
from agentcg.daemon.service.enforce.grants import Grants
from agentcg.daemon.service.host.containers import describe
from agentcg.daemon.service.host.mover import Mover
from agentcg.daemon.service.host.peers import Peer, cgroup_of, held_processes, may_act, user_name
from agentcg.daemon.service.limits import cpu_weight, runtime_limits, session_limits
from agentcg.daemon.service.records import (
    RUNTIME,
    SESSION_MARK,
    TALLY,
    Origin,
    SessionRecord,
    encode,
)
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import (
    AgentcgError,
    CgroupError,
    CgroupGone,
    Conflict,
    Forbidden,
    LimitExceeded,
)
from agentcg.naming import USER_PREFIX, user_session
from agentcg.policies import SessionFacts, SessionRule

log = logging.getLogger(__name__)

CGROUP_MAX = 1024  # characters of a path; a longer one is as good as not known
_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.2  # to kill thousands anew takes as long as they need to die


class Sessions:
    """What the API can do with sessions."""

    def __init__(self, core: Core, endings: Endings, mover: Mover, grants: Grants) -> None:
        self._core = core
        self._endings = endings
        self._mover = mover
        self._grants = grants

    async def open(self, peer: Peer, request: OpenSession) -> tuple[Session, bool]:
        """Open a session, or find it by name; whether it is new. Places `pids` either way.

        Raises `Forbidden` (another user's session, name or process), `InvalidInput` (pid),
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
                if held:
                    self._core.on_opened(session)
            except AgentcgError:
                if found is None and self._is_unused(session):
                    self._remove(session)
                raise
        return self._view(session), found is None

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
        if not core.registry.sessions:  # nobody has looked at the machine's clock for a while
            CLOCK.follow()
        self._check_name(peer, request.name)
        self._check_room(peer)
        where = came_from(peer, request.pids)
        rule = self._rule(peer, request, where)
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
            memory_high_bytes=rule.memory_high,
            pids_max=rule.pids_max,
            cpu_weight=cpu_weight(rule),
            protect_bytes=wanted(request.name, rule).wanted_bytes,
            runtime_protect_bytes=rule.runtime_memory_low,
            tenant=rule.tenant,
            origin=where,
            asked_priority=request.priority,
            asked_weight=request.weight,
            steps=rule.steps,
        )
        session = self._make(record, rule)
        core.registry.add_session(session)
        self._grants.share_protection()
        core.publish("session.opened", f"priority {record.priority}", session)
        core.on_opened(session)
        views.update_phase(core, session)
        return session

    def adopts(self, peer: Peer, request: OpenSession) -> bool:
        """Whether the policy wants an agent that runs elsewhere to have this session.

        Never one in a container: its engine counts, limits and stops by the container's cgroup.
        """
        where = came_from(peer, request.pids)
        return where.container is None and self._rule(peer, request, where).adopt

    def _rule(self, peer: Peer, request: OpenSession, where: Origin) -> SessionRule:
        core = self._core
        facts = SessionFacts(
            name=request.name,
            uid=peer.uid,
            user=user_name(peer.uid),
            memory_bytes=core.memory_bytes(),
            labels=request.labels,
            asked_priority=request.priority,
            asked_weight=request.weight,
            container=tuple(name for name in (where.container_name, where.container) if name),
            image=where.image,
            cgroup=where.cgroup,
            unit=where.unit,
        )
        return core.policy.policy.session(facts)

    @staticmethod
    def _check_name(peer: Peer, name: str) -> None:
        own = (user_session(peer.uid, user_name(peer.uid)), user_session(peer.uid, None))
        if name.startswith(USER_PREFIX) and name not in own:
            raise Forbidden(
                f"session {name!r} is the own session of the user whom it names, not of uid "
                f"{peer.uid}",
                remedy=f"choose another name, or {own[0]!r}",
            )

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
        """One session, as it is now, with its account."""
        session = self._core.authorised(peer, name)
        core = self._core
        used = totals.of_session(session, core.tracking, core.counts, core.clock())
        return msgspec.structs.replace(self._view(session), account=used)

    def _view(self, session: LiveSession) -> Session:
        return measure.session_view(session, totals.counted(session, self._core.counts))

    async def list(self, peer: Peer) -> SessionList:
        """All sessions that the peer may see, in the order in which they were opened."""
        found = []
        sessions = self._core.registry.sessions
        for number, session in enumerate(list(sessions.values())):
            if sessions.get(session.name) is not session or session.closing:
                continue  # gone while others were listed
            if may_act(peer, session.uid, str(session.cgroup.path)):
                found.append(self._view(session))
            if number % 16 == 15:
                await asyncio.sleep(0)  # a long list must not hold up begins and ends
        return SessionList(sessions=found)

    # --- Close ---

    async def close(self, peer: Peer, name: str, *, kill: bool) -> None:
        """Close a session. Raises `Conflict` while processes live in it, unless `kill`."""
        session = self._core.authorised(peer, name)
        self._check_open(session)
        if not kill and (session.placing or session.cgroup.events().populated):
            raise Conflict(
                f"session {name!r} still has processes: {measure.processes_in(session)}",
                remedy="end them first, or close it with kill=true (--kill)",
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
        """Wait until nothing lives in it; with `kill` also what arrives meanwhile is killed.

        Raises `Conflict` if they do not get fewer for `CLOSE_STUCK_S`: thousands of processes may
        take longer than that to die, for one in uninterruptible sleep nobody waits.
        """
        now = asyncio.get_running_loop().time
        fewest, fewest_at, pause_s = sys.maxsize, now(), _PAUSE_S
        with contextlib.suppress(CgroupGone):
            while session.placing or session.cgroup.events().populated:
                if kill:
                    session.cgroup.kill()
                left = session.placing + measure.processes_in(session)
                if left < fewest:
                    fewest, fewest_at = left, now()
                elif now() > fewest_at + bounds.CLOSE_STUCK_S:
                    raise Conflict(
                        f"session {session.name!r} has {left} processes, "
                        f"no fewer than {bounds.CLOSE_STUCK_S:.0f} s ago",
                        remedy="they do not die (uninterruptible sleep); try again later",
                    )
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _finish(self, session: LiveSession) -> None:
        core = self._core
        for call in list(session.calls.values()):
            self._endings.close(call)
        core.registry.drop_session(session)
        core.root.cgroup.set_attr(TALLY, str(core.registry.calls_closed).encode())
        self._remove_cgroups(session)
        self._grants.share_protection()
        core.contenders_changed()
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
        core = self._core
        core.on_closed(session)
        core.watcher.forget(session)
        core.registry.counted = core.registry.counted.plus(core.counts.close(session.runtime.id))
        session.closed = True
        for server in session.servers.values():
            server.cgroup.close()
        session.runtime.close()
        session.cgroup.close()
        with contextlib.suppress(CgroupGone):
            core.root.cgroup.remove_tree(session.name)


def came_from(peer: Peer, pids: Sequence[int]) -> Origin:
    """Where the first of `pids`, or else the peer itself, lives before anything is moved."""
    path = cgroup_of(pids[0], "") if pids else peer.locate()
    if path is None:
        return Origin()
    if not pids:
        path = path.removeprefix(str(find_mount().path))
    if len(path) > CGROUP_MAX:
        return Origin()
    found = origin(path)
    described = describe(found)
    return Origin(
        cgroup=path or "/",
        unit=found.unit,
        container=found.container,
        container_name=described.name,
        image=described.image,
    )
