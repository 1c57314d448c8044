# SPDX-License-Identifier: Apache-2.0
"""What the ladder sees, remembers and answers, as plain frozen data.

Memory is in bytes, times are seconds of one clock, shares are parts of 1. `held_bytes` is as
in `model.CallView`: page cache left out, since it is given back when others need room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from agentcg.daemon.messages import ActionKind, Phase, Priority

MIB = 1 << 20
RANK: Mapping[Priority, int] = {"low": 0, "normal": 1, "high": 2}


STEPS = frozenset({"throttle", "freeze", "kill"})
"""What may be done to calls."""

Step = Literal["throttled", "frozen", "killed", "free"]
"""`killed`: and its processes are not gone yet; `free`: let go a moment ago."""


class Level(IntEnum):
    """How far up the ladder the present room allows to go."""

    RELAXED = 0
    RECLAIM = 1
    THROTTLE = 2
    FREEZE = 3
    KILL = 4


@dataclass(frozen=True, slots=True)
class Tuning:
    """Every number of the ladder. `enter` and `leave`: room as a share of the bound, below
    which RECLAIM, THROTTLE, FREEZE and KILL are entered, and from which on they are left.

    Leases keep calls of normal and low priority from taking the room below THROTTLE: it is for
    the agents themselves, which wait later (`ladder_agents`), and for high priority."""

    enter: tuple[float, float, float, float] = (0.20, 0.04, 0.025, 0.012)
    leave: tuple[float, float, float, float] = (0.25, 0.06, 0.04, 0.02)
    lease_least_bytes: int = 8 * MIB  # a call that cannot have so much at its begin is paused
    lease_step_bytes: int = MIB  # no lease grows by less: a call that cannot have it waits
    lease_share: float = 0.25  # of what is free: what a call that asks gets
    first_share: float = 0.05  # the same as it begins; most never ask, and many begin at once
    headroom_max: float = 0.25  # of the bound: kept for what higher priority held before
    lend_s: float = 0.5  # a call that waits so long for others' headroom gets it
    stall_enter_percent: float = 20.0  # memory PSI, some, of all sessions (psi.rst)
    stall_leave_percent: float = 10.0
    stall_full: float = 0.95  # stalls count only while this much of the bound is charged
    hold_s: float = 1.0  # shortest time between two changes of one call
    settle_s: float = 0.5  # after any step, before a call is killed
    settle_swap_s: float = 2.0  # the same where swap lets reclaim take effect
    reclaim_step_bytes: int = 64 * MIB
    reclaim_least_bytes: int = 4 * MIB
    reclaim_every_s: float = 1.0  # of one session or frozen call; doubled while it yields little
    reclaim_every_max_s: float = 64.0
    throttle_least_bytes: int = 16 * MIB  # memory.high is not set below it
    throttle_stuck_s: float = 5.0  # at the limit without growing or shrinking
    throttle_max_s: float = 30.0
    freeze_max_s: float = 120.0  # then one frozen call makes room for the others
    thaw_every_s: float = 0.5
    batch: int = 64  # calls or sessions of one kind of action in one decision
    look_s: float = 0.1  # while not relaxed
    look_near_s: float = 0.25  # relaxed, with less than twice the room at which it begins


TUNING = Tuning()


@dataclass(frozen=True, slots=True)
class CallLoad:
    """A call that has a leaf. `granted_bytes`: its need, else its limit; None: not known.

    `limit_bytes`: what it may never exceed; `high_events`: how often it met its `memory.high`.
    `lease_bytes`: that `memory.high`, at most the limit; None: it has no lease.
    `ceiling_bytes`: its `memory.max` as it is in force, which lags behind a lease that was made
    shorter; None: not known, as the lease. `still`: paused by the ladder, and no process of it
    runs any more.
    """

    id: str
    begun_at: float
    running: bool = True  # False: it lingers
    held_bytes: int | None = None  # None: not looked at yet
    granted_bytes: int | None = None
    limit_bytes: int | None = None
    high_events: int | None = None
    lease_bytes: int | None = None
    met: bool = False  # the kernel holds it up at its lease
    ceiling_bytes: int | None = None
    still: bool = False
    processes: int = 1  # and threads

    @property
    def unused_bytes(self) -> int:
        """What it can still take, whatever anybody does."""
        most = self.lease_bytes if self.ceiling_bytes is None else self.ceiling_bytes
        return 0 if self.still else max((most or 0) - (self.held_bytes or 0), 0)

    @property
    def overshoot_bytes(self) -> int:
        """By how much it exceeds its grant; negative while within it."""
        return (self.held_bytes or 0) - (self.granted_bytes or 0)


@dataclass(frozen=True, slots=True)
class SessionLoad:
    """A session with its calls. `runtime_current_bytes` has page cache in it; the protection
    (`memory.low`) of the runtime leaf is `runtime_low_bytes`, its lease (`memory.high`)
    `runtime_lease_bytes` (None: it has none); `runtime_met`: the kernel holds it up there, or has
    done so since the lease was written. `peak_bytes`: the most that it
    held of late. `weight`: who of equal priority is served first, the larger before. `room_bytes`:
    what bounds of its own (session, user, tenant) leave it; None: there are none. `steps`: what
    may be done to its calls; reclaim and protection always may."""

    name: str
    priority: Priority
    phase: Phase = "calling"
    runtime_held_bytes: int = 0
    runtime_current_bytes: int = 0
    runtime_low_bytes: int = 0
    calls: tuple[CallLoad, ...] = ()
    peak_bytes: int = 0
    weight: float = 100.0
    room_bytes: int | None = None
    steps: frozenset[str] = STEPS
    runtime_lease_bytes: int | None = None
    runtime_met: bool = False

    @property
    def held_bytes(self) -> int:
        """By the agent itself and all of its calls."""
        return self.runtime_held_bytes + sum(call.held_bytes or 0 for call in self.calls)


@dataclass(frozen=True, slots=True)
class Load:
    """All sessions at one moment, and what they have of the bound over all of them."""

    bound_bytes: int
    held_bytes: int
    current_bytes: int  # page cache included
    stall_percent: float | None = None  # memory PSI, some, avg10; None: no PSI
    swap_free_bytes: int = 0
    sessions: tuple[SessionLoad, ...] = ()
    promised_bytes: int = 0  # sum of `CallLoad.unused_bytes`
    reach_bytes: int = 0
    """What all calls hold and were promised, and agents hold, each as looked at last: a call that
    gave memory back since then may take it again."""

    @property
    def free_bytes(self) -> int:
        """Room that nobody can take without being given it; negative where more is promised than
        is there."""
        return self.bound_bytes - max(self.held_bytes + self.promised_bytes, self.reach_bytes)

    @property
    def free_share(self) -> float:
        """The same as a share of the bound."""
        return self.free_bytes / self.bound_bytes if self.bound_bytes > 0 else 0.0

    @property
    def room_bytes(self) -> int:
        """What could be had without taking it from anybody but the page cache."""
        return self.bound_bytes - self.held_bytes

    @property
    def room_share(self) -> float:
        """The same as a share of the bound."""
        return self.room_bytes / self.bound_bytes if self.bound_bytes > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Mark:
    """What the ladder has done to a call, since when.

    `seen_*` are what the call held, and how often it had met its limit, when it was last seen
    to get on.
    """

    step: Step
    since: float
    seen_at: float = 0.0
    seen_held_bytes: int = 0
    seen_high_events: int = 0
    rounds: int = 0  # how often it was frozen because it made no progress


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """The latest reclaim from a session or a frozen call: when, from how much, next after."""

    at: float
    held_bytes: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class State:
    """What a decision remembers for the next one. Bounded by the calls and sessions there are:
    who is gone is forgotten."""

    level: Level = Level.RELAXED
    stalled: bool = False
    acted_at: float = float("-inf")
    thawed_at: float = float("-inf")
    marks: Mapping[str, Mark] = field(default_factory=dict)
    reclaimed: Mapping[str, Reclaimed] = field(default_factory=dict)
    protected: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, float] = field(default_factory=dict)
    """Calls that are held up at their leases and can have no more, and since when."""
    agents_waiting: Mapping[str, float] = field(default_factory=dict)
    """The same of agents, by session."""
    agents_leased: bool = False

    @property
    def at_rest(self) -> bool:
        """Whether nothing is to be taken back."""
        return not (self.marks or self.protected or self.waiting or self.agents_waiting)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The numbers that led to an action."""

    room_bytes: int
    bound_bytes: int
    stall_percent: float | None
    swap_free_bytes: int
    held_bytes: int | None = None  # by the target
    granted_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """One step on one target: a call, or a session (its runtime leaf) where `call` is None.

    `size_bytes`: `memory.low` of protect, the size of reclaim, `memory.high` of throttle.
    """

    kind: ActionKind
    session: str
    call: str | None
    reason: str
    rule: str
    inputs: Inputs
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Actions in the order in which to carry them out, what to remember, and when to look
    again (None: when something happens). `leases`: `memory.high` of calls whose lease changes,
    by id; a throttle action changes it too, by its size. `agent_leases`: the same of runtime
    leaves, by session; None: without a lease from now on."""

    actions: tuple[Action, ...]
    state: State
    look_in_s: float | None = None
    leases: Mapping[str, int] = field(default_factory=dict)
    agent_leases: Mapping[str, int | None] = field(default_factory=dict)
