# SPDX-License-Identifier: Apache-2.0
"""Leases: how far each call may grow before it has to ask.

Every running call has a lease, which is its `memory.high`: what it holds and a part of the room.
So the kernel stops a burst by itself, at once (one that is held up at `memory.high` sleeps before
it touches more), and neither looks nor reactions have to be faster than the fastest allocation.

What gets past a lease all the same ends at `memory.max`, the *ceiling*, some slack above it.
**What is held, and what every call can still take up to its ceiling, together stay below the
bound, by the last part of the room** (`ladder_level.last_part_bytes`), which agents themselves may
take between two looks. So no call, however it behaves, gets anybody to the bound over all sessions,
where the kernel would choose whom to kill. A call that cannot even have the least lease begins
paused; a paused one can take nothing.

A call that meets its lease is announced by the kernel (`memory.events`) and gets more within
milliseconds: half as much again or a share of what is free, whichever is more, so that a large
call asks only a few times. Where that much is not free, what others were promised and do not use
is taken back, and given once the kernel has it; where nothing is left, the call waits, and the
ladder sees to it. It waits at its lease, and creeps: 64 pages a sleep, at most two seconds each,
for every process that it has. Before that brings it to its ceiling it is paused (`is_at_edge`).

**What is kept from whom.** High priority may take all but the last of the room (`Tuning.enter` of
KILL). Others leave what agents grow by themselves (THROTTLE), and what sessions of higher
priority held of late and do not hold now: *headroom*. The first in line of those who wait gets
that too after a while (`lend_s`), so that nothing lies idle for ever; but not the room in which a
call of high priority can begin.

**Order.** Higher priority, then the larger weight of the session, then the older call.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentcg.daemon.engine.ladder_level import last_part_bytes
from agentcg.daemon.engine.ladder_model import (
    MIB,
    RANK,
    CallLoad,
    Level,
    Load,
    SessionLoad,
    Tuning,
)
from agentcg.daemon.engine.ladder_survey import Target
from agentcg.daemon.messages import Grant, Priority

MET_FROM = 0.9  # share of a lease that a call holds if it is held up by more than page cache
PEAK_HALF_LIFE_S = 300.0
"""How fast an agent's earlier need counts less; twice the longest wait for a model seen."""
BEGINS_KEPT = 2
"""Calls with the least lease for which there is room whatever is lent. One that begins paused for
want of it waits until another one is killed."""
SLACK_LEAST_BYTES = 8 * MIB
SLACK_PART = 16  # of its lease, one part more
EDGE, LAST_EDGE = 0.5, 0.85
"""Parts of its slack. Who is the next to be given something is paused later: what it waits for is
that others make way, and to the second part takes five times as long as to the first."""
SLACK_PROCESS_BYTES = 512 << 10
"""Twice what one process charges between two sleeps at `memory.high` (MEMCG_CHARGE_BATCH)."""


def slack_bytes(lease_bytes: int, processes: int = 1) -> int:
    """How far a call can get past its lease."""
    return max(SLACK_LEAST_BYTES, lease_bytes // SLACK_PART, processes * SLACK_PROCESS_BYTES)


def backstop_bytes(lease_bytes: int, most_bytes: int | None, processes: int = 1) -> int:
    """`memory.max` for a lease of a call that may have `most_bytes`."""
    size_bytes = lease_bytes + slack_bytes(lease_bytes, processes)
    return size_bytes if most_bytes is None else min(size_bytes, most_bytes)


def _lease_below(ceiling_bytes: int, processes: int = 1) -> int:
    """The longest lease whose backstop is at most `ceiling_bytes`; negative where there is none."""
    slack = max(SLACK_LEAST_BYTES, processes * SLACK_PROCESS_BYTES)
    return min(ceiling_bytes * SLACK_PART // (SLACK_PART + 1), ceiling_bytes - slack)


def is_at_edge(call: CallLoad, part: float = EDGE) -> bool:
    """Whether so much of its slack is used, or may be at once by as many processes as it has."""
    if call.lease_bytes is None or call.held_bytes is None:
        return False
    slack = _ceiling(call) - call.lease_bytes
    reach = call.held_bytes + call.processes * SLACK_PROCESS_BYTES // 2
    return slack >= MIB and reach >= call.lease_bytes + part * slack


def to_go_on_bytes(call: CallLoad, tuning: Tuning) -> tuple[int, int]:
    """For a paused call: the lease with which it can go on, and the room that this takes."""
    held = call.held_bytes or 0
    lease = max(call.lease_bytes or 0, held + tuning.lease_step_bytes)
    if call.limit_bytes is not None:
        lease = max(min(lease, call.limit_bytes), call.lease_bytes or 0)
    ceiling = max(backstop_bytes(lease, call.limit_bytes, call.processes), call.ceiling_bytes or 0)
    return lease, max(ceiling - held, 0)


def faded_peak(peak_bytes: float, held_bytes: int, since_s: float) -> float:
    """The most that a session held, `since_s` later; the part above what it holds now fades."""
    faded: float = 0.5 ** (max(since_s, 0.0) / PEAK_HALF_LIFE_S)
    return held_bytes + max(peak_bytes - held_bytes, 0) * faded


@dataclass(frozen=True, slots=True)
class Shared:
    """New leases by call id, the calls that wait for room (first in line first), and those that
    wait although there is room: at a limit of their own, their session's, user's or tenant's.
    `later`: those who get what is being taken back, once the kernel has it. `free_bytes`: what is
    left, `coming_bytes`: what is being taken back beyond that."""

    leases: dict[str, int] = field(default_factory=dict)
    starved: tuple[str, ...] = ()
    capped: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    free_bytes: int = 0
    coming_bytes: int = 0


def least_lease(limit_bytes: int | None, tuning: Tuning) -> int:
    """What a call has at least when it begins to run."""
    least = tuning.lease_least_bytes
    return least if limit_bytes is None else min(least, limit_bytes)


def known_need_bytes(grant: Grant) -> int:
    """What a call was said to need, or is known to by earlier ones; 0: that is an assumption."""
    known = grant.source in {"declared", "intent", "history"}
    return grant.memory_need_bytes or 0 if known else 0


def first_lease(
    load: Load, priority: Priority, limit_bytes: int | None, tuning: Tuning, need_bytes: int = 0
) -> int:
    """The lease of a call that begins; `load` needs no sessions. 0: there is no room for any.

    Of high priority it has all of `need_bytes` at once, as far as there is room: each time that
    it asks it waits for the daemon, which is busiest when room is short."""
    least = least_lease(limit_bytes, tuning)
    if load.free_bytes - last_part_bytes(load, tuning) < backstop_bytes(least, None):
        return 0
    share = tuning.first_share * (2 if priority == "high" else 1)
    free = load.free_bytes - _kept(load, priority, tuning)
    lease = max(_lease_below(int(free * share)), least)
    if priority == "high":
        lease = max(lease, min(need_bytes, _lease_below(free)))
    return lease if limit_bytes is None else min(lease, limit_bytes)


def longer_lease(load: Load, priority: Priority, call: CallLoad, tuning: Tuning) -> int | None:
    """What a call that meets its lease gets at once, with nobody else looked at; `load` needs no
    sessions. None: there is too little room for that, let `share_out` decide."""
    lease = call.lease_bytes
    if lease is None:
        return None
    free = load.free_bytes - _kept(load, priority, tuning)
    if free < tuning.enter[Level.RECLAIM - 1] * load.bound_bytes:
        return None
    longer = _within(lease + _step(lease, free, tuning), call, None)
    return longer if _cost(call, longer) <= free else None


def share_out(  # noqa: PLR0917 - what there is, who asks for it, and the time
    load: Load,
    wanting: Sequence[Target],
    first: CallLoad | None,
    waiting: Mapping[str, float],
    now: float,
    tuning: Tuning,
    needed_bytes: int = 0,
) -> Shared:
    """Give to those who are held up at their leases what there is, in order, `first` before all
    others; and take back where more is promised than there is beside `needed_bytes`, for those who
    do not stand in this line.
    `waiting`: since when each of them has got nothing. Linear in calls."""
    purse = _Purse(load, wanting, tuning)
    if load.free_bytes - needed_bytes < last_part_bytes(load, tuning):
        purse.take_back()
    line = sorted(wanting, key=lambda target: (target[1] is not first, *_turn(target)))
    kept = kept_by_rank(load, tuning) if line else ()
    leases: dict[str, int] = {}
    starved: list[str] = []
    capped: list[str] = []
    later: list[str] = []
    for session, call in line:
        floor = kept[RANK[session.priority]]
        if not starved and now - waiting.get(call.id, now) >= tuning.lend_s:
            floor = min(floor, _never_lent_bytes(load, tuning))
        lease, most = _had_and_most(session, call)
        if most <= lease:
            capped.append(call.id)
            continue
        wanted = min(lease + _step(lease, purse.free_bytes - floor, tuning), most)
        least = min(lease + tuning.lease_step_bytes, most)
        longer = purse.lend(call, least, wanted, floor)
        if longer:
            leases[call.id] = longer
        elif purse.is_coming(call, least, floor):
            later.append(call.id)
        else:
            starved.append(call.id)
    return Shared(
        leases | purse.shortened, tuple(starved), tuple(capped), tuple(later), purse.free_bytes,
        purse.coming_bytes,
    )  # fmt: skip


def is_capped(session: SessionLoad, call: CallLoad) -> bool:
    """Whether it could have no more if the host were empty: for a limit of its own, its session's,
    user's or tenant's."""
    lease, most = _had_and_most(session, call)
    return most <= lease


class _Purse:
    """What is free and, when that is not enough, what others do not use of their leases. The
    latter is free once the kernel has it, not before."""

    def __init__(self, load: Load, asking: Sequence[Target], tuning: Tuning) -> None:
        self._load = load
        self._asking = {call.id for _, call in asking}
        self._rank = max((RANK[session.priority] for session, _ in asking), default=RANK["high"])
        self._tuning = tuning
        self._searched = False
        self.free_bytes = load.free_bytes
        self.coming_bytes = 0
        self.shortened: dict[str, int] = {}

    def lend(self, call: CallLoad, least: int, wanted: int, floor_bytes: int) -> int:
        """The longest lease up to `wanted` that leaves `floor_bytes`; 0: not even `least`."""
        spare = self.free_bytes - floor_bytes
        longer = wanted
        if _cost(call, longer) > spare:
            if not self._searched:  # there will be more when it asks again
                self.take_back()
            longer = min(_lease_below(_ceiling(call) + spare, call.processes), wanted)
            if longer < least or _cost(call, longer) > spare:
                return 0
        self.free_bytes -= _cost(call, longer)
        return longer

    def is_coming(self, call: CallLoad, least: int, floor_bytes: int) -> bool:
        """Whether what others do not use will do for `least`; then it is set aside."""
        cost = _cost(call, least)
        if cost > self.free_bytes + self.coming_bytes - floor_bytes or not self.coming_bytes:
            return False
        self.coming_bytes -= cost
        return True

    def take_back(self) -> None:
        """The largest unused parts first, a bounded number; each keeps a little to grow by."""
        self._searched = True
        unused = heapq.nlargest(
            self._tuning.batch,
            (
                (call.unused_bytes, call.id, call, RANK[session.priority])
                for session in self._load.sessions
                for call in session.calls
                if call.lease_bytes is not None
                and call.held_bytes is not None
                and not call.still
                and call.id not in self._asking
            ),
        )
        for _, call_id, call, rank in unused:
            held = call.held_bytes or 0
            kept = self._tuning.lease_step_bytes
            if call.running and rank >= self._rank:
                kept = max(self._tuning.lease_least_bytes, held // 8)
            lease = held + kept
            before = backstop_bytes(call.lease_bytes or 0, call.limit_bytes, call.processes)
            after = backstop_bytes(lease, call.limit_bytes, call.processes)
            had = min(before, _ceiling(call)) - after
            if had >= self._tuning.lease_step_bytes:
                self.shortened[call_id] = lease
                self.coming_bytes += had


def _had_and_most(session: SessionLoad, call: CallLoad) -> tuple[int, int]:
    """The lease that a call has, or what it holds beyond that, and the longest that it may have."""
    return max(call.lease_bytes or 0, call.held_bytes or 0), _within(1 << 62, call, session)


def _turn(target: Target) -> tuple[int, float, float, str]:
    session, call = target
    return -RANK[session.priority], -session.weight, call.begun_at, call.id


def _step(lease: int, free: int, tuning: Tuning) -> int:
    return max(lease // 2, int(free * tuning.lease_share), tuning.lease_least_bytes)


def _ceiling(call: CallLoad) -> int:
    """How far a call can get at present."""
    most = call.ceiling_bytes
    if most is None and call.lease_bytes is not None:
        most = backstop_bytes(call.lease_bytes, call.limit_bytes, call.processes)
    return max(most or 0, call.held_bytes or 0)


def _cost(call: CallLoad, lease: int) -> int:
    """What a longer lease takes of the room."""
    most = backstop_bytes(lease, call.limit_bytes, call.processes)
    return max(most - _ceiling(call), 0)


def _within(lease: int, call: CallLoad, session: SessionLoad | None) -> int:
    """`lease`, at most the call's own limit, and what its session's bounds leave."""
    if call.limit_bytes is not None:
        lease = min(lease, call.limit_bytes)
    if session is not None and session.room_bytes is not None:
        lease = min(lease, (call.held_bytes or 0) + max(session.room_bytes, 0))
    return lease


def _kept(load: Load, priority: Priority, tuning: Tuning) -> int:
    level = Level.KILL if priority == "high" else Level.THROTTLE
    return int(tuning.enter[level - 1] * load.bound_bytes)


def _never_lent_bytes(load: Load, tuning: Tuning) -> int:
    """What stays free of those who waited for others' headroom: on a small host the more, since
    calls of high priority are still to begin."""
    begins = BEGINS_KEPT * backstop_bytes(tuning.lease_least_bytes, None)
    share = int(tuning.enter[Level.FREEZE - 1] * load.bound_bytes)
    return max(share, last_part_bytes(load, tuning) + begins)


def kept_by_rank(load: Load, tuning: Tuning) -> tuple[int, int, int]:
    """What stays free of what low, normal and high priority take."""
    high, normal = _kept(load, "high", tuning), _kept(load, "normal", tuning)
    above = [0, 0, 0]
    for session in load.sessions:
        if session.peak_bytes > 0 and session.priority != "low":
            above[RANK[session.priority]] += max(session.peak_bytes - session.held_bytes, 0)
    most = int(tuning.headroom_max * load.bound_bytes)
    return (
        normal + min(above[RANK["high"]] + above[RANK["normal"]], most),
        normal + min(above[RANK["high"]], most),
        high,
    )
