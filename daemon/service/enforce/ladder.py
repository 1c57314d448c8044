# SPDX-License-Identifier: Apache-2.0
"""The ladder's loop: look, let the engine decide, carry it out, and keep what was done.

Woken by the pressure trigger on the root and by the regular tick; by a clock of its own only
while room is short. Actions are kept with the call and the session (`agentcg explain`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Set
from dataclasses import replace

from agentcg.cgroups import Cgroup
from agentcg.daemon.engine import ladder as engine
from agentcg.daemon.engine.feedback import over_grant
from agentcg.daemon.engine.ladder_model import Action, Load, State
from agentcg.daemon.engine.ladder_words import killed, slowed
from agentcg.daemon.messages import Action as Told
from agentcg.daemon.messages import ActionKind, ActionList, EventKind, Feedback
from agentcg.daemon.service import audit, views
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.enforce.agent_leases import AgentLeases
from agentcg.daemon.service.enforce.grants import Grants
from agentcg.daemon.service.enforce.ladder_apply import Hands
from agentcg.daemon.service.enforce.ladder_load import Loads
from agentcg.daemon.service.host import tasks
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.errors import AgentcgError, CgroupGone

log = logging.getLogger(__name__)

_EVENTS: dict[ActionKind, EventKind] = {
    "reclaim": "session.reclaimed",
    "throttle": "call.throttled",
    "unthrottle": "call.unthrottled",
    "freeze": "call.frozen",
    "thaw": "call.thawed",
    "kill": "call.killed",
}


class Ladder:
    """Looks and acts, as a task on the loop. `missing`: why it cannot, if so."""

    def __init__(self, core: Core, grants: Grants, loads: Loads) -> None:
        self._core = core
        self._grants = grants
        self._leases = grants.leases
        self._leases.on_asked = self._ask
        self._asked = self._released = False
        self._loads = loads
        self._hands = Hands(core.enforceable)
        self.agents = AgentLeases(core, loads, self._hands, self._ask)
        self._state = State()
        self._woken = asyncio.Event()
        self._look_in_s: float | None = None

    def wake(self) -> None:
        """Something may have changed: look soon."""
        self._woken.set()

    async def run(self) -> None:
        """Look whenever woken and, while room is short, by the clock; until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._look_in_s):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            await tasks.in_turn(self._look_on)

    def _look_on(self) -> None:
        try:
            self._look()
        except AgentcgError as error:
            log.error("%s", error)
        except Exception:  # a bug in one look must not end all looking
            log.exception("the look at memory failed")

    def _look(self) -> None:
        if not self._core.policy.policy.ladder.enabled:
            self._release()
            self._released = True
            return
        if self._released:
            self._leases.adopt()
            self._released = False
        load = self._loads.root()
        if load is None:
            return
        tuning, asked = self._core.tuning, self._asked
        self._asked = False
        if asked or not engine.is_relaxed(load, self._state, tuning):
            sessions = self._loads.sessions(self._leases.look_at)
            registry = self._core.registry  # as it is after that look
            load = replace(
                load, sessions=sessions, promised_bytes=registry.promised_bytes,
                reach_bytes=registry.reach_bytes,
            )  # fmt: skip
        verdict = engine.decide(load, self._state, self._core.clock(), tuning)
        self._tell(load, verdict.state.waiting.keys() - self._state.waiting.keys())
        self.agents.note(load, verdict.state.agents_waiting)
        self._state, self._look_in_s = verdict.state, verdict.look_in_s
        self.agents.apply(verdict.agent_leases)
        self.agents.rest()
        self._let_grow(verdict.leases)
        for action in verdict.actions:
            try:
                self._carry_out(action)
            except CgroupGone:
                pass  # it ended meanwhile
            except AgentcgError as error:
                log.error("%s", error)

    def room_is_back(self) -> None:
        """A call has ended: look at once if somebody waits for room."""
        if not self._state.at_rest:
            self._woken.set()

    def _ask(self) -> None:
        self._asked = True
        self._woken.set()

    def _tell(self, load: Load, waiting: Set[str]) -> None:
        for call_id in waiting:
            if (call := self._core.registry.calls.get(call_id)) is not None:
                grant = call.record.grant
                over = (call.lease_bytes or 0) >= (grant.memory_high_bytes or 1 << 62)
                told = (
                    over_grant(call.memory_bytes, grant) if over
                    else slowed(load, call.memory_bytes or 0)
                )  # fmt: skip
                self._grants.tell_slowed(call, told)

    # --- Carrying out ---

    def _let_grow(self, leases: Mapping[str, int]) -> None:
        """Shorter leases before longer ones, so that their sum never exceeds what there is."""
        found = [(self._core.registry.calls.get(id), size) for id, size in leases.items()]
        changes = [(call, size) for call, size in found if call is not None]
        for call, size_bytes in sorted(changes, key=_growth):
            try:
                if _growth((call, size_bytes)) < 0:
                    self._shorten(call, size_bytes)
                else:
                    self._leases.lengthen(call, size_bytes)
            except CgroupGone:
                pass
            except AgentcgError as error:
                log.error("%s", error)

    def _shorten(self, call: LiveCall, size_bytes: int) -> None:
        self._leases.set(call, size_bytes)
        self._hands.shorten(
            call.cgroup, lambda: self._leases.limits(call), lambda: self._shortened(call)
        )

    def _shortened(self, call: LiveCall) -> None:
        """The kernel has a shorter lease: who waits for what that makes free can have it."""
        self._leases.in_force(call)
        if not self._state.at_rest or any(c.met for c in self._core.registry.calls.values()):
            self._ask()

    def _carry_out(self, action: Action) -> None:
        registry = self._core.registry
        session = registry.sessions.get(action.session)
        call = None if action.call is None else registry.calls.get(action.call)
        if session is None or (call is None) != (action.call is None):
            return
        told: Feedback | None = None
        if call is None:
            self._to_session(action, session)
        elif action.kind == "reclaim":
            self._reclaim(action, call.cgroup)
        else:
            told = self._to_call(action, call)
        self._keep(action, session, call, told)

    def _to_session(self, action: Action, session: LiveSession) -> None:
        if action.kind == "protect":
            session.demand_bytes = action.size_bytes or 0
            self._grants.share_protection()
        else:
            self._reclaim(action, session.runtime)

    def _reclaim(self, action: Action, cgroup: Cgroup) -> None:
        self._hands.reclaim(cgroup, action.size_bytes or 0, log.error)

    def _to_call(self, action: Action, call: LiveCall) -> Feedback | None:
        grant, hands = call.record.grant, self._hands
        if action.kind == "throttle":
            call.step = "throttled"
            self._leases.set(call, action.size_bytes or 0)
            hands.throttle(
                call.cgroup, grant, lambda: self._leases.limits(call),
                lambda: self._leases.in_force(call),
            )  # fmt: skip
        elif action.kind == "unthrottle":
            call.step = None
            hands.unthrottle(call.cgroup, grant)
        elif action.kind == "freeze":
            call.step = "frozen"
            hands.freeze(call.cgroup)
        elif action.kind == "thaw":
            call.step = "throttled"
            self._leases.goes_on(call)
            if not call.frozen_by_hand:
                hands.thaw(call.cgroup)
        else:
            call.killed = killed(action, call.record.begun_at, self._core.clock())
            call.cgroup.kill()
        views.update_phase(self._core, call.session)
        return call.killed

    def _keep(
        self, action: Action, session: LiveSession, call: LiveCall | None, told: Feedback | None
    ) -> None:
        kept = _told(action, self._core.clock(), self._core.policy.policy.ladder.rules)
        for actions in (session.actions, *(() if call is None else (call.actions,))):
            actions.append(kept)
        log.info("%s %s: %s", action.kind, action.call or action.session, action.reason)
        if (kind := _EVENTS.get(action.kind)) is not None:
            self._core.publish(kind, action.reason, session, action.call, told)

    # --- Explaining, ending ---

    def of_call(self, peer: Peer, call_id: str) -> ActionList:
        """What was done to a call, live or ended. Raises `NotFound`, `Forbidden`."""
        return ActionList(actions=list(self._core.authorised_call(peer, call_id).actions))

    def of_session(self, peer: Peer, name: str) -> ActionList:
        """What was done in a session. Raises `NotFound`, `Forbidden`."""
        return ActionList(actions=list(self._core.authorised(peer, name).actions))

    def close(self) -> None:
        """Let everybody go on: a daemon that is not there holds nobody back."""
        self._release()
        self._hands.close()

    def _release(self) -> None:
        self._state = State()
        self.agents.release()
        for call in self._core.registry.calls.values():
            if call.step is not None:
                call.step = None
                call.still = False
                if not call.frozen_by_hand:
                    self._hands.thaw(call.cgroup)
                self._hands.unthrottle(call.cgroup, call.record.grant)
            if call.lease_bytes is not None:
                call.lease_bytes = call.ceiling_bytes = None
                self._core.registry.count_lease(call)
                self._hands.end_lease(call.cgroup, call.record.grant)


def _growth(change: tuple[LiveCall, int]) -> int:
    call, size_bytes = change
    return size_bytes - (call.lease_bytes or 0)


def _told(action: Action, now: float, places: Mapping[str, str]) -> Told:
    found = action.inputs
    return Told(
        time=now,
        kind=action.kind,
        session=action.session,
        call=action.call,
        reason=action.reason,
        rule=audit.placed(action.kind, action.rule, places),
        size_bytes=action.size_bytes,
        room_bytes=found.room_bytes,
        bound_bytes=found.bound_bytes,
        stall_percent=found.stall_percent,
        swap_free_bytes=found.swap_free_bytes,
        held_bytes=found.held_bytes,
        granted_bytes=found.granted_bytes,
    )
