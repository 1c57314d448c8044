# SPDX-License-Identifier: Apache-2.0
"""Begin, change, list and end calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from agentcg.bpf import mask_secrets
from agentcg.cgroups import Cgroup
from agentcg.daemon.engine import Admit, CallRequest, Refuse, grant, renegotiate
from agentcg.daemon.messages import (
    BeginCall,
    Call,
    CallList,
    CallState,
    ChangeCall,
    EndCall,
)
from agentcg.daemon.service import bounds, measure, views
from agentcg.daemon.service.core import Core, new_id
from agentcg.daemon.service.endings import Endings
from agentcg.daemon.service.grants import Grants
from agentcg.daemon.service.intents import Intents
from agentcg.daemon.service.limits import call_limits
from agentcg.daemon.service.mover import Mover
from agentcg.daemon.service.peers import Peer, held_processes, may_act
from agentcg.daemon.service.records import CALL_MARK, CallRecord, encode
from agentcg.daemon.service.state import EndedCall, LiveCall, LiveSession
from agentcg.errors import AgentcgError, CgroupGone, Conflict, LimitExceeded
from agentcg.policies import categorise

LEAF_PREFIX = "call-"
_RECHECK_S = 1.0  # room also comes from outside: other processes of the host end


class Calls:
    """What the API can do with calls."""

    def __init__(
        self, core: Core, intents: Intents, endings: Endings, mover: Mover, grants: Grants
    ) -> None:
        self._core = core
        self._intents = intents
        self._endings = endings
        self._mover = mover
        self._grants = grants

    # --- Begin ---

    async def begin(self, peer: Peer, name: str, request: BeginCall) -> Call:
        """Begin a call in session `name`: decide on its grant, make its leaf, place its process.

        Raises `NotFound`, `Forbidden`, `InvalidInput` (pid), `LimitExceeded`, `Conflict`
        (session is closing); then nothing is left behind.
        """
        session = self._core.authorised(peer, name)
        with held_processes(peer, [] if request.pid is None else [request.pid]) as held:
            self._check_room(session)
            admitted = await self._admission(session, request)
            self._check_room(session)  # others went on while this one waited
            call = self._create(session, request, admitted)
            await self._place_or_undo(call, held, request.pid)
        self._intents.used(session, admitted.intent)
        self._core.count_call(session)
        reason = admitted.grant.reason
        self._core.publish("call.begun", f"{call.record.tool}: {reason}", session, call.id)
        views.update_phase(self._core, session)
        return measure.call_view(call, measure.fresh_account(), len(held))

    def _check_room(self, session: LiveSession) -> None:
        if session.closing:
            raise Conflict(f"session {session.name!r} is being closed")
        if len(session.calls) >= bounds.CALLS_PER_SESSION_MAX:
            raise LimitExceeded(
                f"session {session.name!r} has {len(session.calls)} calls running or lingering",
                remedy="end calls, and stop the processes that ended ones left",
            )
        uid, registry = session.uid, self._core.registry
        if registry.calls_by_uid[uid] >= bounds.CALLS_PER_UID_MAX:
            raise LimitExceeded(
                f"the sessions of uid {uid} have {bounds.CALLS_PER_UID_MAX} calls",
                remedy="end calls, and stop the processes that ended ones left",
            )
        if len(registry.calls) >= bounds.CALLS_MAX:
            raise LimitExceeded(f"this host has {bounds.CALLS_MAX} calls", remedy="try again later")

    async def _admission(self, session: LiveSession, request: BeginCall) -> Admit:
        """The engine's word: at once, or when there is room, or after waiting long enough."""
        began = time.monotonic()
        while True:
            waited_s = time.monotonic() - began if request.wait_s else 0.0
            decision = grant(
                self._core.policy.policy,
                views.host_view(self._core),
                views.session_view(session),
                views.call_request(request, waited_s),
                session.intents,
                self._core.clock(),
            )
            if isinstance(decision, Admit):
                return decision
            if isinstance(decision, Refuse):
                raise LimitExceeded(decision.reason)
            await self._endings.wait_for_room(min(decision.wait_s, _RECHECK_S))
            if session.closing:
                raise Conflict(f"session {session.name!r} is being closed")

    def _create(self, session: LiveSession, request: BeginCall, admitted: Admit) -> LiveCall:
        core = self._core
        record = CallRecord(
            id=new_id(),
            tool=request.tool,
            # Anybody on the host can read the record: it is an attribute of the leaf.
            command=None if request.command is None else mask_secrets(request.command),
            category=request.category or categorise(request.tool, request.command),
            reference=request.reference,
            begun_at=core.clock(),
            grant=admitted.grant,
        )
        leaf = session.cgroup.create(LEAF_PREFIX + record.id)
        call = LiveCall(record, session, leaf, feedback=list(admitted.feedback))
        try:
            leaf.set_attr(CALL_MARK, encode(record))
            leaf.apply(core.enforceable(call_limits(record.grant)))
            core.watcher.watch(leaf, call)
        except AgentcgError:
            self._remove(leaf, session)
            raise
        core.tracking.track(leaf.id)
        core.registry.add_call(call)
        core.registry.commit(call, views.call_view(call).committed_bytes)
        return call

    async def _place_or_undo(self, call: LiveCall, held: list[int], pid: int | None) -> None:
        """If the caller went away meanwhile, the call stays: its process may be in it by now."""
        try:
            await self._place(call, held, pid)
        except AgentcgError:
            if not call.session.closed:
                self._undo(call)
            raise
        if call.session.closed:
            raise Conflict(f"session {call.session.name!r} was closed meanwhile")

    def _undo(self, call: LiveCall) -> None:
        self._core.watcher.forget(call)
        self._core.tracking.untrack(call.cgroup.id)
        self._core.registry.stop_running(call)
        self._core.registry.drop_call(call)
        self._remove(call.cgroup, call.session)

    async def _place(self, call: LiveCall, pidfds: list[int], pid: int | None) -> None:
        for pidfd in pidfds:  # none or one
            await self._mover.place(call.session, call.cgroup, pidfd, pid or 0)
            call.populated = True

    @staticmethod
    def _remove(leaf: Cgroup, session: LiveSession) -> None:
        leaf.close()
        session.cgroup.remove(leaf.path.name)

    # --- Change, end ---

    async def change(self, peer: Peer, call_id: str, request: ChangeCall) -> Call:
        """Renegotiate a running call's grant, or place one more process into it."""
        call = self._core.authorised_call(peer, call_id)
        if isinstance(call, EndedCall) or call.state != "running":
            raise Conflict(f"call {call_id!r} has ended", remedy="begin a new one")
        with held_processes(peer, [] if request.pid is None else [request.pid]) as held:
            if request.memory_bytes is not None or request.cpu is not None:
                self._regrant(call, request)
            await self._place(call, held, request.pid)
        return self.view(call)

    def _regrant(self, call: LiveCall, request: ChangeCall) -> None:
        wanted = CallRequest(
            call.record.tool, call.record.command, call.record.category,
            memory_bytes=request.memory_bytes, cpu=request.cpu,
        )  # fmt: skip
        self._grants.apply(
            call,
            renegotiate(
                self._core.policy.policy,
                views.host_view(self._core),
                views.session_view(call.session),
                views.call_view(call),
                wanted,
            ),
        )

    def end(self, peer: Peer, call_id: str, request: EndCall) -> Call:
        """End a call. Raises `Conflict` if that was said before."""
        call = self._core.authorised_call(peer, call_id)
        return self._endings.declare(call, request.exit_status)

    # --- Look ---

    def get(self, peer: Peer, call_id: str) -> Call:
        """One call, live or ended."""
        call = self._core.authorised_call(peer, call_id)
        return call.call if isinstance(call, EndedCall) else self.view(call)

    def view(self, call: LiveCall) -> Call:
        """A live call, its use read from the kernel now."""
        core = self._core
        try:
            used = measure.account(call, core.clock(), core.tracking.counters(call.cgroup.id))
            return measure.call_view(call, used, measure.processes_below(call.cgroup))
        except CgroupGone:
            return self._endings.end(call, "emptied")

    async def list(
        self, peer: Peer, *, session: str | None, state: CallState | None, limit: int
    ) -> CallList:
        """The latest `limit` calls that the peer may see, in the order in which they began."""
        found: list[LiveCall | EndedCall] = []
        for call in self._latest_first():
            if len(found) == limit:
                break
            if self._wanted(call, session, state) and self._visible(peer, call):
                found.append(call)
        calls = []
        for number, call in enumerate(reversed(found)):
            calls.append(call.call if isinstance(call, EndedCall) else self.view(call))
            if number % 16 == 15:
                await asyncio.sleep(0)  # a long list must not hold up begins and ends
        return CallList(calls=calls)

    def _latest_first(self) -> Iterable[LiveCall | EndedCall]:
        registry = self._core.registry
        return sorted(
            [*registry.ended.values(), *registry.calls.values()],
            key=lambda call: (call.call if isinstance(call, EndedCall) else call.record).begun_at,
            reverse=True,
        )

    @staticmethod
    def _wanted(call: LiveCall | EndedCall, session: str | None, state: CallState | None) -> bool:
        if isinstance(call, EndedCall):
            name, now = call.call.session, call.call.state
        else:
            name, now = call.session.name, call.state
        return session in (None, name) and state in (None, now)

    @staticmethod
    def _visible(peer: Peer, call: LiveCall | EndedCall) -> bool:
        if isinstance(call, EndedCall):
            return may_act(peer, call.owner, call.session_cgroup)
        return may_act(peer, call.session.uid, str(call.session.cgroup.path))
