# SPDX-License-Identifier: Apache-2.0
"""The ladder's loop: look, let the engine decide, carry it out, and keep what was done.

Woken by the pressure trigger on the root and by the regular tick; by a clock of its own only
while room is short. Actions are kept with the call and the session (`agentcg explain`).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from agentcg.cgroups import Cgroup
from agentcg.daemon.engine import ladder as engine
from agentcg.daemon.engine.ladder_model import Action, State
from agentcg.daemon.engine.ladder_words import killed
from agentcg.daemon.messages import Action as Told
from agentcg.daemon.messages import ActionKind, ActionList, EventKind, Feedback
from agentcg.daemon.service import views
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.grants import Grants
from agentcg.daemon.service.ladder_apply import Hands
from agentcg.daemon.service.ladder_load import Loads
from agentcg.daemon.service.peers import Peer
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

    def __init__(self, core: Core, grants: Grants) -> None:
        self._core = core
        self._grants = grants
        self._loads = Loads(core)
        self._hands = Hands(core.enforceable)
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
            try:
                self._look()
            except AgentcgError as error:
                log.error("%s", error)
            except Exception:  # a bug in one look must not end all looking
                log.exception("the look at memory failed")

    def _look(self) -> None:
        load = self._loads.root()
        if load is None:
            return
        if not engine.is_relaxed(load, self._state):
            load = replace(load, sessions=self._loads.sessions())
        verdict = engine.decide(load, self._state, self._core.clock())
        self._state, self._look_in_s = verdict.state, verdict.look_in_s
        for action in verdict.actions:
            try:
                self._carry_out(action)
            except CgroupGone:
                pass  # it ended meanwhile
            except AgentcgError as error:
                log.error("%s", error)

    # --- Carrying out ---

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
            call.step, call.slowed_at_bytes = "throttled", action.size_bytes
            hands.throttle(call.cgroup, grant, action.size_bytes or 0)
        elif action.kind == "unthrottle":
            call.step, call.slowed_at_bytes = None, None
            hands.unthrottle(call.cgroup, grant)
        elif action.kind == "freeze":
            call.step = "frozen"
            hands.freeze(call.cgroup)
        elif action.kind == "thaw":
            call.step = "throttled"
            hands.thaw(call.cgroup)
        else:
            call.killed = killed(action, call.record.begun_at, self._core.clock())
            call.cgroup.kill()
        views.update_phase(self._core, call.session)
        return call.killed

    def _keep(
        self, action: Action, session: LiveSession, call: LiveCall | None, told: Feedback | None
    ) -> None:
        kept = _told(action, self._core.clock())
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
        for call in self._core.registry.calls.values():
            if call.step is not None:
                call.step = None
                self._hands.thaw(call.cgroup)
                self._hands.unthrottle(call.cgroup, call.record.grant)
        self._hands.close()


def _told(action: Action, now: float) -> Told:
    found = action.inputs
    return Told(
        time=now,
        kind=action.kind,
        session=action.session,
        call=action.call,
        reason=action.reason,
        rule=action.rule,
        size_bytes=action.size_bytes,
        room_bytes=found.room_bytes,
        bound_bytes=found.bound_bytes,
        stall_percent=found.stall_percent,
        swap_free_bytes=found.swap_free_bytes,
        held_bytes=found.held_bytes,
        granted_bytes=found.granted_bytes,
    )
