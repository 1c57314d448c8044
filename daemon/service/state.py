# SPDX-License-Identifier: Apache-2.0
"""Sessions and calls in memory, and the registry that finds them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from agentcg.cgroups import Cgroup, Limits
from agentcg.daemon.engine import Owner
from agentcg.daemon.engine.history import EMPTY, History
from agentcg.daemon.messages import (
    Action,
    Call,
    CallState,
    Executed,
    Feedback,
    Intent,
    Phase,
)
from agentcg.daemon.service.counts import NOTHING, Counted
from agentcg.daemon.service.kept import Kept
from agentcg.daemon.service.records import CallRecord, ServerRecord, SessionRecord
from agentcg.errors import NotFound

ACTIONS_KEPT = 64
"""Actions that are kept of one call or session; the oldest are dropped first."""
ENDED_KEPT = 250
"""Records of ended calls that are kept of one session; the oldest are dropped first."""
ENDED_KEPT_IN_ALL = 1000
"""Some 5 KiB each; the history has them all on disk."""


def _actions() -> deque[Action]:
    return deque(maxlen=ACTIONS_KEPT)


@dataclass(slots=True, eq=False)
class LiveServer:
    """A server of tools in a leaf of its own."""

    record: ServerRecord
    cgroup: Cgroup


@dataclass(slots=True, eq=False)
class LiveSession:
    """A session: its record (as on disk), its cgroups, and what it does."""

    record: SessionRecord
    cgroup: Cgroup
    runtime: Cgroup
    phase: Phase = "thinking"
    phase_since: float = 0.0
    phase_until: float | None = None  # when it changes by itself
    active_at: float = 0.0  # when its last call ended, or it was opened
    calls_running: int = 0
    calls_total: int = 0
    placing: int = 0  # processes on their way into it
    closing: bool = False
    closed: bool = False  # its cgroups are removed
    protected_bytes: int | None = None  # memory.low as shared out last
    shared: Limits | None = None  # the same of what it shares with others of its user
    owner_weight: int = 100  # of its tenant or, without one, its user
    caps_bytes: tuple[tuple[Owner, int], ...] = ()  # memory of all sessions of its owners
    demand_bytes: int = 0  # protected by the ladder beyond its share
    runtime_current_bytes: int = 0  # page cache included, at the last look while room was short
    runtime_bytes: int = 0  # held by the runtime leaf at the last look, without page cache
    runtime_lease_bytes: int | None = None  # memory.high of the runtime leaf; None: there is none
    runtime_met: bool = False  # the kernel holds the agent up there
    runtime_waits_since: float | None = None  # it can have no more until there is room
    runtime_high_events: int = 0  # memory.events high of it, at the last news
    peak_bytes: float = 0.0  # the most that all of it held, older peaks counting less
    peak_at: float = 0.0
    intents: list[Intent] = field(default_factory=list)
    intents_left: float = 0.0  # that it may declare now, of its rate
    intents_at: float = 0.0
    reserved_bytes: int = 0  # held for its intents; its part of the registry's sum
    history: History = EMPTY  # of its ended calls
    calls: dict[str, LiveCall] = field(default_factory=dict)
    servers: dict[str, LiveServer] = field(default_factory=dict)  # by name of the leaf
    sums: Counter[str] = field(default_factory=Counter)  # of its ended calls (totals.py)
    counted: Counted = NOTHING  # the same
    actions: deque[Action] = field(default_factory=_actions)
    owners: tuple[Owner, ...] = field(init=False)
    """Its tenant, if it has one, and its user."""

    def __post_init__(self) -> None:
        user, tenant = Owner("user", self.record.uid), self.record.tenant
        self.owners = (user,) if tenant is None else (Owner("tenant", tenant), user)

    @property
    def paused(self) -> bool:
        """Whether calls run and all of them are frozen."""
        running = [call for call in self.calls.values() if call.state == "running"]
        return bool(running) and all(
            call.step == "frozen" or call.frozen_by_hand for call in running
        )

    @property
    def name(self) -> str:
        """Name of the session, and of its directory."""
        return self.record.name

    @property
    def uid(self) -> int:
        """The user who opened it."""
        return self.record.uid


@dataclass(slots=True, eq=False)
class LiveCall:
    """A call that has a leaf: running, or lingering after its end."""

    record: CallRecord
    session: LiveSession
    cgroup: Cgroup
    populated: bool = False  # a process was seen in it
    emptied_at: float | None = None  # populated, then empty since
    memory_bytes: int | None = None  # held at the last look, page cache left out
    held_peak_bytes: int | None = None  # the most of it at any look
    committed_bytes: int = 0  # its part of the registry's sum
    counted_bytes: int = 0  # and of what its user and tenant hold
    kills: int = 0  # processes that the OOM killer took here, as reported by BPF
    victim: str | None = None
    high_seen: int = 0  # memory.events high, at the last look
    high_events: int | None = None  # the same, as the ladder saw it
    step: Literal["throttled", "frozen"] | None = None  # of the ladder
    frozen_by_hand: bool = False
    lease_bytes: int | None = None  # memory.high now; None: that of its grant
    ceiling_bytes: int | None = None  # memory.max as it is in force, with a lease
    still: bool = False  # paused by the ladder, and none of its processes runs any more
    processes: int = 1  # and threads, at the last look
    promised_bytes: int = 0  # what it may grow by; its part of the registry's sum
    reach_bytes: int = 0  # the same with what it holds
    met: bool = False  # the kernel holds it up at its lease
    killed: Feedback | None = None  # what to tell of a kill by the ladder
    hooked_by: tuple[str, str] | None = None  # conversation and sub-agent that are to tell its end
    cancelled: bool = False  # ended by its caller, who says so
    lease_run: tuple[int, int] | None = None  # leases in a row: the first, and how many
    actions: deque[Action] = field(default_factory=_actions)
    commands: list[Executed] = field(default_factory=list)
    execs: int = 0
    feedback: list[Feedback] = field(default_factory=list)
    children_waiting: int = 0  # calls that it waits for, and that wait for room

    @property
    def id(self) -> str:
        """Id of the call; its leaf is `call-<id>`."""
        return self.record.id

    @property
    def state(self) -> CallState:
        """`running` or `lingering`."""
        return self.record.state


@dataclass(slots=True)
class EndedCall:
    """A call without a leaf. `settled`: its end was declared, so it cannot be ended again."""

    call: Call
    owner: int
    session_cgroup: str
    settled: bool
    session_id: str = ""
    curve: bytes | None = None  # packed (curves.py)
    actions: tuple[Action, ...] = ()


class Registry:
    """All sessions by name, all calls by id, and the latest ended calls."""

    def __init__(
        self, *, ended_kept: int = ENDED_KEPT, ended_kept_in_all: int = ENDED_KEPT_IN_ALL
    ) -> None:
        self.sessions: dict[str, LiveSession] = {}
        self.on_first: Callable[[], None] = lambda: None
        """Told when there comes a session where there was none."""
        self.calls: dict[str, LiveCall] = {}
        self.by_cgroup: dict[int, LiveCall] = {}
        self.ended: Kept[str, EndedCall] = Kept(each=ended_kept, total=ended_kept_in_all)
        self.sessions_by_uid: Counter[int] = Counter()
        self.calls_by_uid: Counter[int] = Counter()
        """Calls with a leaf, by the owner of their session."""
        self.calls_closed = 0
        """Calls begun in sessions that are closed by now."""
        self.ends: Counter[str] = Counter()
        """Calls ended since the daemon started, by reason."""
        self.sums: Counter[str] = Counter()
        """Of all ended calls (totals.py)."""
        self.counted = NOTHING
        """Of them, and of agents of closed sessions."""
        self.calls_running = 0
        self.parents_waiting = 0
        """Running calls that cannot end before one that waits for room has begun."""
        self.changes = 0
        """How often a call has begun or ended."""
        self.committed_bytes = 0
        """What all sessions hold or are promised, kept as a sum so that reading it is free."""
        self.promised_bytes = 0
        """What leases let calls grow by, likewise."""
        self.reserved_bytes = 0
        """What is held for intents, likewise."""
        self.reserved_by: Counter[Owner] = Counter()
        self.reach_bytes = 0
        """What calls hold and leases let them grow by, and what agents hold, likewise."""
        self.committed_by: Counter[Owner] = Counter()
        """The same of the sessions of each user and tenant."""
        self.running_by: Counter[Owner] = Counter()
        self.sessions_by: Counter[Owner] = Counter()
        self.held_by: Counter[Owner] = Counter()
        """What they hold, leases that let calls of theirs grow included."""

    def add_session(self, session: LiveSession) -> None:
        """Make a session known."""
        if not self.sessions:
            self.on_first()
        self.sessions[session.name] = session
        self.sessions_by_uid[session.uid] += 1
        self.sessions_by.update(session.owners)

    def is_open(self, session: LiveSession) -> bool:
        """Whether `session` is known, and is not about to be closed. Its name may be another's."""
        return self.sessions.get(session.name) is session and not session.closing

    def drop_session(self, session: LiveSession) -> None:
        """Forget a session; its calls must have been dropped before."""
        del self.sessions[session.name]
        self.sessions_by_uid[session.uid] -= 1
        self.commit_runtime(session, 0)
        self.reserve(session, 0)
        self.calls_closed += session.calls_total
        self.sessions_by.subtract(session.owners)
        for owner in session.owners:
            if not self.sessions_by[owner]:  # names of tenants come from outside
                for counts in (
                    self.sessions_by, self.committed_by, self.running_by, self.held_by,
                    self.reserved_by,
                ):  # fmt: skip
                    del counts[owner]

    def add_call(self, call: LiveCall) -> None:
        """Make a call known."""
        call.session.calls[call.id] = call
        self.calls[call.id] = call
        self.calls_by_uid[call.session.uid] += 1
        self.by_cgroup[call.cgroup.id] = call
        if call.state == "running":
            self._count_running(call, 1)

    def drop_call(self, call: LiveCall) -> None:
        """Forget a call that loses its leaf."""
        call.session.calls.pop(call.id, None)
        if self.calls.pop(call.id, None) is not None:
            self.calls_by_uid[call.session.uid] -= 1
        self.by_cgroup.pop(call.cgroup.id, None)
        self.commit(call, 0)
        self._promise(call, 0, 0)

    def await_child(self, parent: LiveCall | None, step: int) -> None:
        """A child of `parent` begins (1) or ends (-1) to wait for room."""
        if parent is None:
            return
        before = parent.children_waiting > 0
        parent.children_waiting += step
        if parent.state == "running":
            self.parents_waiting += (parent.children_waiting > 0) - before

    def stop_running(self, call: LiveCall) -> None:
        """A running call has ended, or its begin is undone."""
        if call.children_waiting > 0:
            self.parents_waiting -= 1
            call.children_waiting = 0
        self._count_running(call, -1)

    def _count_running(self, call: LiveCall, step: int) -> None:
        call.session.calls_running += step
        self.calls_running += step
        self.changes += 1
        for owner in call.session.owners:
            self.running_by[owner] += step

    def commit(self, call: LiveCall, size_bytes: int) -> None:
        """Count `size_bytes` as held by or promised to `call`."""
        self._add(call.session, size_bytes - call.committed_bytes)
        call.committed_bytes = size_bytes
        held = call.memory_bytes or 0 if call.id in self.calls else 0
        self._hold(call.session, held - call.counted_bytes)
        call.counted_bytes = held
        if call.memory_bytes is not None:
            call.held_peak_bytes = max(call.held_peak_bytes or 0, call.memory_bytes)

    def count_lease(self, call: LiveCall) -> None:
        """Count what the lease of `call` lets it grow by, after either has changed."""
        most, held = call.ceiling_bytes, call.memory_bytes or 0
        bounded = call.lease_bytes is not None and most is not None and not call.still
        growth = max((most or 0) - held, 0) if bounded else 0
        self._promise(call, growth, held + growth)

    def _promise(self, call: LiveCall, size_bytes: int, reach_bytes: int) -> None:
        self.reach_bytes += reach_bytes - call.reach_bytes
        call.reach_bytes = reach_bytes
        self.promised_bytes += size_bytes - call.promised_bytes
        self._hold(call.session, size_bytes - call.promised_bytes)
        call.promised_bytes = size_bytes

    def reserve(self, session: LiveSession, size_bytes: int) -> None:
        """Count `size_bytes` as held for the intents of `session`."""
        step, session.reserved_bytes = size_bytes - session.reserved_bytes, size_bytes
        self.reserved_bytes += step
        for owner in session.owners:
            self.reserved_by[owner] += step

    def commit_runtime(self, session: LiveSession, size_bytes: int) -> None:
        """Count `size_bytes` as held by the agent itself."""
        self._add(session, size_bytes - session.runtime_bytes)
        self._hold(session, size_bytes - session.runtime_bytes)
        self.reach_bytes += size_bytes - session.runtime_bytes
        session.runtime_bytes = size_bytes

    def _add(self, session: LiveSession, size_bytes: int) -> None:
        self.committed_bytes += size_bytes
        for owner in session.owners:
            self.committed_by[owner] += size_bytes

    def _hold(self, session: LiveSession, size_bytes: int) -> None:
        for owner in session.owners:
            self.held_by[owner] += size_bytes

    def keep_ended(self, ended: EndedCall) -> None:
        """Keep the record of an ended call; old ones go where there are too many."""
        self.ended.add((ended.owner, ended.call.session), ended.call.id, ended)

    def session(self, name: str) -> LiveSession:
        """The session `name`; raises `NotFound`."""
        found = self.sessions.get(name)
        if found is None:
            raise NotFound(f"there is no session {name!r}", remedy="see `agentcg sessions`")
        return found

    def call(self, call_id: str) -> LiveCall | EndedCall:
        """The call `call_id`, live or ended; raises `NotFound`."""
        found = self.calls.get(call_id) or self.ended.get(call_id)
        if found is None:
            raise NotFound(
                f"there is no call {call_id!r}",
                remedy=f"it is unknown, or older than the last {self.ended.each} of its session",
            )
        return found

    def running(self) -> Iterator[LiveCall]:
        """Calls that have not ended."""
        return (call for call in self.calls.values() if call.state == "running")

    @property
    def calls_total(self) -> int:
        """Calls begun on this root, over restarts of the daemon."""
        return self.calls_closed + sum(s.calls_total for s in self.sessions.values())
