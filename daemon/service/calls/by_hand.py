# SPDX-License-Identifier: Apache-2.0
"""What people do to a call by hand: freeze it, thaw it, kill it. Beside the ladder, never instead.

A call that was frozen by hand stays frozen until it is thawed by hand, killed, or its session is
closed; one that the ladder froze too goes on when both have let go. Who did it is kept with the
call (`agentcg explain`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from agentcg.daemon.engine.timeline import BY_HAND
from agentcg.daemon.messages import ActionKind, EventKind, Feedback
from agentcg.daemon.service import audit, views
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.records import HAND_MARK
from agentcg.daemon.service.state import EndedCall, LiveCall
from agentcg.errors import CgroupError, CgroupGone, Conflict

log = logging.getLogger(__name__)

_DONE: dict[ActionKind, tuple[EventKind, str]] = {
    "freeze": ("call.frozen", "froze"),
    "thaw": ("call.thawed", "thawed"),
    "kill": ("call.killed", "killed"),
}


class ByHand:
    """Acts on one call, for those who may act on its session."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def freeze(self, peer: Peer, call_id: str) -> LiveCall:
        """Stop all its processes where they are. Raises `NotFound`, `Forbidden`, `Conflict`."""
        call = self._live(peer, call_id)
        if call.frozen_by_hand:
            raise Conflict(f"call {call_id!r} is frozen already", remedy="thaw it first")
        self._guarded(call, lambda: self._hold(call))
        self._keep("freeze", call, peer)
        return call

    def thaw(self, peer: Peer, call_id: str) -> LiveCall:
        """Let them go on; when there is room, if the ladder froze them too. Raises as `freeze`
        does, also where the ladder alone did."""
        call = self._live(peer, call_id)
        held = call.step == "frozen"
        if held and not call.frozen_by_hand:
            raise Conflict(
                f"call {call_id!r} is frozen because memory is short",
                remedy="it is thawed when there is room; `agentcg explain` says more",
            )
        self._guarded(call, lambda: self._let_go(call, thaw=not held))
        self._keep("thaw", call, peer, but="; it goes on when there is room" if held else "")
        return call

    def kill(self, peer: Peer, call_id: str) -> LiveCall:
        """Kill all its processes; the agent is told who did it. Raises as `freeze` does."""
        call = self._live(peer, call_id)
        self._guarded(call, call.cgroup.kill)
        call.killed = Feedback(
            code="killed", text=f"{_who(peer)} killed the call by hand, not for what it used."
        )
        self._keep("kill", call, peer)
        return call

    def _live(self, peer: Peer, call_id: str) -> LiveCall:
        call = self._core.authorised_call(peer, call_id)
        if isinstance(call, EndedCall):
            raise Conflict(f"call {call_id!r} has ended", remedy="there is nothing left of it")
        return call

    @staticmethod
    def _hold(call: LiveCall) -> None:
        call.cgroup.set_attr(HAND_MARK, b"frozen")  # first: the next daemon must know who can thaw
        try:
            call.cgroup.freeze(True)
        except CgroupError:
            with suppress(CgroupError):
                call.cgroup.remove_attr(HAND_MARK)
            raise
        call.frozen_by_hand = True

    @staticmethod
    def _let_go(call: LiveCall, *, thaw: bool) -> None:
        if thaw:
            call.cgroup.freeze(False)
        call.frozen_by_hand = False
        call.cgroup.remove_attr(HAND_MARK)

    @staticmethod
    def _guarded(call: LiveCall, act: Callable[[], None]) -> None:
        try:
            act()
        except CgroupGone as error:
            raise Conflict(f"call {call.id!r} has ended") from error

    def _keep(self, kind: ActionKind, call: LiveCall, peer: Peer, but: str = "") -> None:
        """Keep and tell what was done; `but`: why it has no effect yet, which is not told."""
        core = self._core
        event, verb = _DONE[kind]
        reason = f"{_who(peer)} {verb} it by hand{but}"
        action = audit.told(
            core, call.session, kind, reason, BY_HAND, call, held_bytes=call.memory_bytes,
            granted_bytes=call.record.grant.memory_high_bytes,
        )  # fmt: skip
        call.actions.append(action)
        call.session.actions.append(action)
        log.info("%s %s: %s", kind, call.id, reason)
        if not but:
            told = call.killed if kind == "kill" else None
            core.publish(event, reason, call.session, call.id, told)
        views.update_phase(core, call.session)


def _who(peer: Peer) -> str:
    return f"uid {peer.uid} (pid {peer.pid})"
