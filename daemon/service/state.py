# SPDX-License-Identifier: Apache-2.0
"""Sessions and calls in memory."""

from __future__ import annotations

from collections import Counter, deque
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
from agentcg.daemon.service.accounts.counts import NOTHING, Counted
from agentcg.daemon.service.records import CallRecord, ServerRecord, SessionRecord

ACTIONS_KEPT = 64
"""Actions that are kept of one call or session; the oldest are dropped first."""


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
