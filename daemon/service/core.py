# SPDX-License-Identifier: Apache-2.0
"""What all parts of the service share."""

from __future__ import annotations

import os
import time
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agentcg.cgroups import MAX, Limits, Watcher
from agentcg.daemon.messages import EventKind, Feedback
from agentcg.daemon.service.bus import Bus
from agentcg.daemon.service.hostview import Memory
from agentcg.daemon.service.limits import absent_limits
from agentcg.daemon.service.peers import Peer, may_act
from agentcg.daemon.service.records import TALLY
from agentcg.daemon.service.root import Root
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.state import EndedCall, LiveCall, LiveSession, Registry
from agentcg.daemon.service.tracking import Tracking
from agentcg.errors import Forbidden

_ID_BYTES = 5  # 40 bits, 8 characters: a clash among 10^4 that live together is 1 in 10^8


def new_id() -> str:
    """A new id of a session, call or intent: lower-case letters and the digits 2 to 7."""
    return b32encode(os.urandom(_ID_BYTES)).decode().lower()


@dataclass(slots=True)
class Core:
    """The root cgroup, what lives in it, and the ways to the kernel and to the outside."""

    root: Root
    policy: PolicyInForce
    watcher: Watcher[LiveCall | str]
    tracking: Tracking
    clock: Callable[[], float] = time.time
    registry: Registry = field(default_factory=Registry)
    bus: Bus = field(init=False)
    _absent_limits: dict[str, None] = field(init=False)

    def __post_init__(self) -> None:
        self.bus = Bus(self.clock)
        self._absent_limits = absent_limits(self.root.controllers)

    def memory_max_bytes(self) -> int | None:
        """The bound over all sessions: as set through the API, else the policy's."""
        if self.root.record.memory_max_bytes is not None:
            return self.root.record.memory_max_bytes
        return self.policy.host.memory_max

    def memory_bytes(self) -> int:
        """What all sessions together may use: the bound, and never more than there is."""
        total = Memory.total_bytes()
        bound = self.memory_max_bytes()
        return total if bound is None else min(total, bound)

    def apply_host_bound(self) -> None:
        """Write the bound over all sessions to the root."""
        bound = self.memory_max_bytes()
        limits = Limits(memory_max=MAX if bound is None else bound)
        self.root.cgroup.apply(self.enforceable(limits))

    def enforceable(self, limits: Limits) -> Limits:
        """`limits` without those whose controller sessions do not have (health says so)."""
        absent = self._absent_limits
        return replace(limits, **absent) if absent else limits

    def authorised(self, peer: Peer, name: str) -> LiveSession:
        """The session `name`, if `peer` may act on it."""
        session = self.registry.session(name)
        self._require(peer, session.uid, str(session.cgroup.path), f"session {name!r}")
        return session

    def authorised_call(self, peer: Peer, call_id: str) -> LiveCall | EndedCall:
        """The call `call_id`, if `peer` may act on its session."""
        call = self.registry.call(call_id)
        if isinstance(call, LiveCall):
            owner, cgroup = call.session.uid, str(call.session.cgroup.path)
        else:
            owner, cgroup = call.owner, call.session_cgroup
        self._require(peer, owner, cgroup, f"call {call_id!r}")
        return call

    @staticmethod
    def _require(peer: Peer, owner: int, cgroup: str, what: str) -> None:
        if not may_act(peer, owner, cgroup):
            raise Forbidden(
                f"{what} belongs to uid {owner}, not to uid {peer.uid}",
                remedy="it takes its owner, a process inside the session, root, or a member of "
                "group agentcg",
            )

    def publish(
        self,
        kind: EventKind,
        text: str,
        session: LiveSession,
        call_id: str | None = None,
        feedback: Feedback | None = None,
    ) -> None:
        """Publish an event of a session or one of its calls."""
        self.bus.publish(
            kind, text, session=session.name, owner=session.uid, call=call_id, feedback=feedback
        )

    def count_call(self, session: LiveSession) -> None:
        """Count one more call of `session`, also for the time after a restart."""
        session.calls_total += 1
        session.cgroup.set_attr(TALLY, str(session.calls_total).encode())
