# SPDX-License-Identifier: Apache-2.0
"""What all parts of the service share."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from agentcg.bpf import Curve
from agentcg.cgroups import MAX, Limits, Watcher
from agentcg.cgroups.knobs import IO_WEIGHT
from agentcg.daemon.engine import Owner
from agentcg.daemon.engine.ladder_model import TUNING, Tuning
from agentcg.daemon.engine.tuning import tuning_of
from agentcg.daemon.messages import EventKind, Feedback
from agentcg.daemon.service.accounts import totals
from agentcg.daemon.service.accounts.counts import Counted, Counts
from agentcg.daemon.service.accounts.curves import pack
from agentcg.daemon.service.accounts.history import History
from agentcg.daemon.service.accounts.tracking import Tracking
from agentcg.daemon.service.bus import Bus
from agentcg.daemon.service.clock import CLOCK
from agentcg.daemon.service.future import Future
from agentcg.daemon.service.host.hostview import Memory
from agentcg.daemon.service.host.peers import Peer, may_act, user_name
from agentcg.daemon.service.host.root import Root
from agentcg.daemon.service.limits import absent_limits
from agentcg.daemon.service.records import CALL_MARK, TALLY, encode
from agentcg.daemon.service.registry import Registry
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.scheduler.budgets import Budgets
from agentcg.daemon.service.state import EndedCall, LiveCall, LiveSession
from agentcg.daemon.service.waiting import Waiting
from agentcg.errors import CgroupGone, Forbidden
from agentcg.policies import CapRule, LadderRule, Policy


def _nobody(_: LiveSession) -> None:
    return


_CAPS_KEPT = 4096  # owners whose rules are kept
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"  # 5 bits each
_ID_LENGTH = 8  # 40 bits: a clash among 10^4 that live together is 1 in 10^8


def new_id() -> str:
    """A new id of a session, call or intent: lower-case letters and the digits 2 to 7."""
    return "".join([_ID_LETTERS[byte & 31] for byte in os.urandom(_ID_LENGTH)])


def packed(curve: Curve | None, has_memory: bool) -> bytes | None:
    """`curve` as it is kept; None where nothing was drawn."""
    return None if curve is None else pack(curve, CLOCK.boot_time, has_memory=has_memory)


def _cap_rule(policy: Policy, owner: Owner, memory_bytes: int) -> tuple[CapRule, str]:
    if owner.of == "tenant":
        return policy.tenant(str(owner.key), memory_bytes), f"tenant {owner.key}"
    uid = int(owner.key)
    name = user_name(uid)
    return policy.user(uid, name, memory_bytes), f"user {uid if name is None else name}"


@dataclass(slots=True)
class Core:
    """The root cgroup, what lives in it, and the ways to the kernel and to the outside."""

    root: Root
    policy: PolicyInForce
    watcher: Watcher[LiveCall | LiveSession | str]
    tracking: Tracking
    clock: Callable[[], float] = CLOCK.now
    history: History = field(default_factory=lambda: History(None))
    registry: Registry = field(default_factory=Registry)
    counts: Counts = field(default_factory=Counts)
    budgets: Budgets = field(init=False)
    waiting: Waiting = field(default_factory=Waiting)
    on_opened: Callable[[LiveSession], None] = _nobody
    """Told of a session before the first process is in it, and after processes were placed."""
    on_closed: Callable[[LiveSession], None] = _nobody
    """Told before a session's cgroups are removed."""
    bus: Bus = field(init=False)
    future: Future = field(init=False)
    contenders_changed: Callable[[], None] = lambda: None
    """Sessions came, went or changed phase: what they share is shared out anew, soon."""
    _absent_limits: dict[str, None] = field(init=False)
    _caps_of: tuple[Policy | None, int] = (None, 0)
    _caps: dict[Owner, tuple[CapRule, str]] = field(init=False, default_factory=dict)
    _tuning: Tuning = field(init=False, default=TUNING)
    _tuned_by: LadderRule | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.bus = Bus(self.clock)
        self.budgets = Budgets(self.counts.delayed)
        self.future = Future(self.registry, lambda: self.clock())  # noqa: PLW0108 - tests set it
        self.waiting.overtake_max_s = lambda: self.policy.policy.admission.overtake_max_s
        self._absent_limits = absent_limits(self.root.controllers)
        if self.root.cgroup.get(IO_WEIGHT) is None:  # a kernel without blk-iocost
            self._absent_limits["io_weight"] = None

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

    @property
    def tuning(self) -> Tuning:
        """The ladder's numbers, those of the policy in force among them."""
        rule = self.policy.policy.ladder
        if rule is not self._tuned_by:
            self._tuned_by, self._tuning = rule, tuning_of(rule)
        return self._tuning

    def apply_host_bound(self) -> None:
        """Write the bound over all sessions to the root."""
        bound = self.memory_max_bytes()
        limits = Limits(memory_max=MAX if bound is None else bound)
        self.root.cgroup.apply(self.enforceable(limits))

    def enforceable(self, limits: Limits) -> Limits:
        """`limits` without those whose controller sessions do not have (health says so)."""
        absent = self._absent_limits
        return limits._replace(**absent) if absent else limits

    def cap_rule(self, owner: Owner, memory_bytes: int) -> tuple[CapRule, str]:
        """What the policy says of a user or tenant, and its name for people; asked at every begin,
        so that answers are kept while policy and memory stay the same."""
        policy, of = self.policy.policy, self._caps_of
        if of[0] is not policy or of[1] != memory_bytes or len(self._caps) >= _CAPS_KEPT:
            self._caps_of, self._caps = (policy, memory_bytes), {}
        found = self._caps.get(owner)
        if found is None:
            found = self._caps[owner] = _cap_rule(policy, owner, memory_bytes)
        return found

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

    def home(self, peer: Peer) -> LiveSession | None:
        """The session that `peer` lives in."""
        place, root = peer.locate() or "", f"{self.root.cgroup.path}/"
        name = place.removeprefix(root).partition("/")[0] if place.startswith(root) else ""
        return self.registry.sessions.get(name)

    def packed_curve(self, call: LiveCall, has_memory: bool) -> bytes | None:
        """How the use of `call` went so far; None where nothing was drawn."""
        return packed(self.tracking.curve(call.cgroup.id), has_memory)

    def keep_ended(self, ended: EndedCall) -> None:
        """Keep the record of a call that has ended: in memory, and in the history."""
        self.registry.keep_ended(ended)
        used = ended.call.account
        counted = Counted(used.scheduled, used.delayed)
        totals.remember(self.registry.sums, used)
        self.registry.counted = self.registry.counted.plus(counted)
        session = self.registry.sessions.get(ended.call.session)
        if session is not None:
            totals.remember(session.sums, used)
            session.counted = session.counted.plus(counted)
        self.history.keep(ended)

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
        *,
        intent: str | None = None,
    ) -> None:
        """Publish an event of a session, one of its calls or of its intents."""
        self.bus.publish(
            kind, text, session=session.name, owner=session.uid, call=call_id, feedback=feedback,
            intent=intent,
        )  # fmt: skip

    def begun(self, call: LiveCall, text: str) -> None:
        """Publish that a call has begun, with what it is expected to take."""
        session = call.session
        self.bus.publish(
            "call.begun", text, session=session.name, owner=session.uid, call=call.id,
            foreseen=call.record.foreseen,
        )  # fmt: skip

    def note(self, call: LiveCall, *, told_oom: bool, told_over_grant: bool) -> None:
        """Keep what was told about a call, so that a restarted daemon does not tell it again."""
        call.record = msgspec.structs.replace(
            call.record, told_oom=told_oom, told_over_grant=told_over_grant
        )
        with suppress(CgroupGone):
            call.cgroup.set_attr(CALL_MARK, encode(call.record))

    def count_call(self, session: LiveSession) -> None:
        """Count one more call of `session`, also for the time after a restart."""
        session.calls_total += 1
        session.cgroup.set_attr(TALLY, str(session.calls_total).encode())
