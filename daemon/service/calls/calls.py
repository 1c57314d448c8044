# SPDX-License-Identifier: Apache-2.0
"""Begin, change, list and end calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from agentcg.bpf import mask_secrets
from agentcg.cgroups import Cgroup
from agentcg.cgroups.values import beyond_defaults
from agentcg.daemon.engine import Admit, CallRequest, grant, renegotiate
from agentcg.daemon.engine.forecast import Forecast
from agentcg.daemon.engine.sights import Began
from agentcg.daemon.messages import (
    BeginCall,
    Call,
    CallList,
    CallState,
    ChangeCall,
    EndCall,
)
from agentcg.daemon.service import audit, bounds, views
from agentcg.daemon.service.accounts import measure
from agentcg.daemon.service.calls.admitting import admission
from agentcg.daemon.service.calls.endings import Endings
from agentcg.daemon.service.calls.forecasts import forecast_of
from agentcg.daemon.service.core import Core, new_id
from agentcg.daemon.service.enforce.grants import Grants
from agentcg.daemon.service.future import foreseen
from agentcg.daemon.service.host.mover import Mover
from agentcg.daemon.service.host.peers import Peer, held_processes, may_act
from agentcg.daemon.service.intents.intents import Intents
from agentcg.daemon.service.records import CALL_MARK, CallRecord, encode
from agentcg.daemon.service.state import EndedCall, LiveCall, LiveSession
from agentcg.errors import AgentcgError, CgroupGone, Conflict, InvalidInput, LimitExceeded
from agentcg.policies import categorise

LEAF_PREFIX = "call-"


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

    # --- Found ---

    def create_found(
        self, session: LiveSession, request: BeginCall, begun_at: float, began: Began
    ) -> LiveCall:
        """A call that nobody declared, its leaf and its grant; its process runs already.

        Raises `LimitExceeded`, `CgroupError`; then nothing is left behind.
        """
        self._check_room(session)
        admitted = self._grant_now(session, request)
        call = self._create(session, request, admitted, forecast_of(self._core, session, request))
        call.record = msgspec.structs.replace(
            call.record, begun_at=begun_at, found=began.found, client=began.client,
            shared=began.shared,
        )  # fmt: skip
        self._core.count_call(session)
        self._core.begun(call, f"{request.tool}: found by {began.found}")
        views.update_phase(self._core, session)
        return call

    def _grant_now(self, session: LiveSession, request: BeginCall) -> Admit:
        """The engine's word for a call that cannot wait. Raises `LimitExceeded`."""
        decision = grant(
            self._core.policy.policy,
            views.host_view(self._core, session=session),
            views.session_view(session),
            views.call_request(request, 0.0),
            session.intents,
            self._core.clock(),
        )
        if not isinstance(decision, Admit):
            raise LimitExceeded(decision.reason)
        return decision

    def missed_view(
        self, session: LiveSession, request: BeginCall, begun_at: float, began: Began
    ) -> Call:
        """A call that was over before it could have a leaf, in the words of the API."""
        admitted = self._grant_now(session, request)
        return Call(
            id=new_id(),
            session=session.name,
            tool=request.tool,
            command=request.command,
            category=categorise(request.tool, request.command),
            reference=request.reference,
            state="ended",
            found=began.found,
            begun_at=begun_at,
            ended_at=None,
            end_reason="exited",
            exit_status=None,
            cgroup=str(session.runtime.path),
            grant=admitted.grant,
            account=measure.fresh_account(),
            processes_now=0,
            client=began.client,
            shared=began.shared,
        )

    # --- Begin ---

    async def begin(self, peer: Peer, name: str, request: BeginCall) -> Call:
        """Begin a call in session `name`: decide on its grant, make its leaf, place its process.

        Raises `NotFound`, `Forbidden`, `InvalidInput` (pid), `LimitExceeded`, `Conflict`
        (session is closing); then nothing is left behind.
        """
        session = self._core.authorised(peer, name)
        self._check_relations(session, request)
        with held_processes(peer, [] if request.pid is None else [request.pid]) as held:
            known = self._found_with(session, request.pid)
            if known is not None:
                return self._declare_found(known, request)
            self._check_room(session)
            admitted, found = await admission(self._core, session, request)
            self._check_room(session)  # others went on while this one waited
            call = self._create(session, request, admitted, found)
            await self._place_or_undo(call, held, request.pid)
        self._intents.used(session, admitted.intent)
        self._core.count_call(session)
        reason = admitted.grant.reason
        self._core.begun(call, f"{call.record.tool}: {reason}")
        views.update_phase(self._core, session)
        return measure.call_view(call, measure.fresh_account(), len(held))

    def _check_relations(self, session: LiveSession, request: BeginCall) -> None:
        if request.intent is not None:
            self._intents.require(session, "intent", request.intent)
        parent = None if request.parent is None else session.calls.get(request.parent)
        if request.parent is not None and (parent is None or parent.state != "running"):
            raise InvalidInput("parent", request.parent, "a running call of the session")

    @staticmethod
    def _found_with(session: LiveSession, pid: int | None) -> LiveCall | None:
        """The call that was found by this process, before its client came to declare it."""
        for call in session.calls.values():
            record = call.record
            if pid is not None and record.leader == pid and record.state == "running":
                return call
        return None

    def _declare_found(self, call: LiveCall, request: BeginCall) -> Call:
        """What its client says of a call is worth more than what was seen of it."""
        command = request.command
        call.record = msgspec.structs.replace(
            call.record,
            tool=request.tool,
            command=call.record.command if command is None else mask_secrets(command),
            category=request.category or categorise(request.tool, command),
            reference=request.reference,
            found="declared",
            ends_with_leader=False,
        )
        call.cgroup.set_attr(CALL_MARK, encode(call.record))
        if request.memory_bytes is not None or request.cpu is not None:
            self._regrant(call, ChangeCall(memory_bytes=request.memory_bytes, cpu=request.cpu))
        return self.view(call)

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

    def _create(
        self, session: LiveSession, request: BeginCall, admitted: Admit, found: Forecast
    ) -> LiveCall:
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
            intent=admitted.intent,
            parent=request.parent,
            foreseen=foreseen(found),
        )
        leaf = session.cgroup.create(LEAF_PREFIX + record.id)
        call = LiveCall(record, session, leaf, feedback=list(admitted.feedback))
        try:
            leaf.set_attr(CALL_MARK, encode(record))
            limits, lease = self._grants.leases.first_limits(session, record.grant)
            leaf.apply(beyond_defaults(core.enforceable(limits)))
            if lease == 0:
                self._grants.leases.pause(call)
            core.watcher.watch(leaf, call)
        except AgentcgError:
            self._remove(leaf, session)
            raise
        core.tracking.track(leaf.id)
        core.registry.add_call(call)
        core.registry.commit(call, views.call_view(call).committed_bytes)
        self._grants.leases.begun(call, lease)
        audit.begun(core, call, admitted.held_up)
        core.budgets.follow(call)
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
        self._core.counts.close(call.cgroup.id)
        self._core.budgets.forget(call)
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
                views.host_view(self._core, session=call.session),
                views.session_view(call.session, views.caps_of(self._core, call.session)),
                views.call_view(call),
                wanted,
            ),
        )

    def end(self, peer: Peer, call_id: str, request: EndCall) -> Call:
        """End a call. Raises `Conflict` if that was said before."""
        call = self._core.authorised_call(peer, call_id)
        return self._endings.declare(call, request.exit_status, cancelled=request.cancelled is True)

    # --- Look ---

    def get(self, peer: Peer, call_id: str) -> Call:
        """One call, live or ended."""
        self._core.tracking.catch_up()  # what a call executes is not told by itself
        call = self._core.authorised_call(peer, call_id)
        return call.call if isinstance(call, EndedCall) else self.view(call)

    def view(self, call: LiveCall) -> Call:
        """A live call, its use read from the kernel now."""
        core, leaf = self._core, call.cgroup.id
        try:
            counters, counted = core.tracking.counters(leaf), core.counts.of(leaf)
            used = measure.account(call, core.clock(), counters, counted)
            return measure.call_view(call, used, measure.processes_below(call.cgroup))
        except CgroupGone:
            return self._endings.end(call, "emptied")

    async def list(
        self, peer: Peer, *, session: str | None, state: CallState | None, limit: int
    ) -> CallList:
        """The latest `limit` calls that the peer may see, in the order in which they began."""
        self._core.tracking.catch_up()
        found: list[LiveCall | EndedCall] = []
        for call in self._latest_first():
            if len(found) == limit:
                break
            if self._wanted(call, session, state) and self._visible(peer, call):
                found.append(call)
        calls = []
        for number, call in enumerate(reversed(found)):
            if (view := self._view_now(call)) is not None:
                calls.append(view)
            if number % 16 == 15:
                await asyncio.sleep(0)  # a long list must not hold up begins and ends
        return CallList(calls=calls)

    def _view_now(self, call: LiveCall | EndedCall) -> Call | None:
        """Of one that was listed a while ago: it may have ended, and even be forgotten, since."""
        if isinstance(call, LiveCall) and self._core.registry.calls.get(call.id) is call:
            return self.view(call)
        ended = call if isinstance(call, EndedCall) else self._core.registry.ended.get(call.id)
        return None if ended is None else ended.call

    def _latest_first(self) -> Iterable[LiveCall | EndedCall]:
        registry = self._core.registry
        return sorted(
            [*reversed(registry.ended), *registry.calls.values()],
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
