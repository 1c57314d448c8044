# SPDX-License-Identifier: Apache-2.0
"""Who may be acted on, in which order: one walk over all calls.

**Who.** Calls of high priority only where there are no others. And never the *last to run*:
the call of the highest priority (rather one within twice its grant, the oldest of those)
always runs. So whatever is frozen, somebody gets on, ends and makes room.

**Order.** Throttle and kill: lowest priority first, then the largest overshoot of its grant.
Freeze: lowest priority first, the oldest last. Thaw: the reverse of freeze.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from agentcg.daemon.engine.ladder_model import RANK, CallLoad, Load, Mark, SessionLoad, Tuning

Target = tuple[SessionLoad, CallLoad]

OVER_FROM = 2.0
"""Times its grant; what holds more does not come first. One in ten calls takes twice what the
last of its kind took, and whoever comes first should remain so until it ends."""


@dataclass(slots=True)
class Survey:
    """What the walk found. `marked`: every call with a mark, by id. The lists have calls that
    may be acted on; `free_by_rank` those not frozen, if their memory is known and matters;
    `throttled` is a part of it."""

    last_to_run: CallLoad | None = None
    last_rank: int = -1  # of its priority
    marked: dict[str, Target] = field(default_factory=dict)
    throttled: list[Target] = field(default_factory=list)
    free_by_rank: tuple[list[Target], ...] = ()
    frozen: list[Target] = field(default_factory=list)
    eligible: set[str] = field(default_factory=set)  # ids of marked calls that may be acted on
    wanting: list[Target] = field(default_factory=list)  # held up at their leases, of any priority

    @property
    def free(self) -> Iterator[Target]:
        """All of `free_by_rank`, the lowest priority first."""
        return chain.from_iterable(self.free_by_rank)


def survey(load: Load, marks: Mapping[str, Mark], tuning: Tuning) -> Survey:
    """Walk over all sessions and calls; linear."""
    found = Survey()
    ordinary = any(session.calls and session.priority != "high" for session in load.sessions)
    least = tuning.throttle_least_bytes
    free: tuple[list[Target], ...] = ([], [], [])
    slight: tuple[list[Target], ...] = ([], [], [])
    last = _Last()
    for session in load.sessions:
        rank = RANK[session.priority]
        eligible = (rank < RANK["high"]) == ordinary
        for call in session.calls:
            mark = marks.get(call.id) if marks else None
            if mark is not None:
                found.marked[call.id] = (session, call)
                if mark.step == "killed":
                    continue
                if eligible:
                    found.eligible.add(call.id)
            if call.met and (mark is None or mark.step != "frozen"):
                found.wanting.append((session, call))
            if rank >= last.rank:
                last.offer(call, rank)
            if not eligible:
                continue
            if mark is not None:
                if mark.step == "frozen":
                    found.frozen.append((session, call))
                    continue
                if mark.step == "throttled":
                    found.throttled.append((session, call))
            if call.held_bytes is not None:
                (free if call.held_bytes >= least else slight)[rank].append((session, call))
    found.last_to_run = last.call
    found.last_rank = last.rank
    found.free_by_rank = free if any(free) or found.frozen else slight
    return found


class _Last:
    """The best of the calls offered: running before lingering, highest priority, within its
    grant, oldest, smallest id."""

    __slots__ = ("_key", "call", "rank")

    def __init__(self) -> None:
        self.call: CallLoad | None = None
        self.rank = -1
        """Calls of a lower priority than this cannot be better."""
        self._key: tuple[bool, int, bool, float, str] = (True, 0, True, 0.0, "")

    def offer(self, call: CallLoad, rank: int) -> None:
        """Smaller keys are better."""
        if self.call is not None and (not call.running, -rank) > self._key[:2]:
            return
        over = (call.held_bytes or 0) > OVER_FROM * (call.granted_bytes or 0)
        key = (not call.running, -rank, over, call.begun_at, call.id)
        if self.call is None or key < self._key:
            self.call, self._key = call, key
            if call.running:
                self.rank = rank


def to_throttle(targets: Iterable[Target], count: int) -> list[Target]:
    """The first `count` to throttle; also the order in which to kill."""
    return heapq.nsmallest(count, targets, key=_costliest)


def to_freeze(targets: Iterable[Target], count: int) -> list[Target]:
    """The first `count` to freeze."""
    return heapq.nsmallest(count, targets, key=_youngest)


def to_thaw(targets: Iterable[Target], count: int) -> list[Target]:
    """The first `count` to thaw."""
    return heapq.nlargest(count, targets, key=_youngest)


def _costliest(target: Target) -> tuple[int, int, float, str]:
    session, call = target
    return RANK[session.priority], -call.overshoot_bytes, -call.begun_at, call.id


def _youngest(target: Target) -> tuple[int, float, str]:
    session, call = target
    return RANK[session.priority], -call.begun_at, call.id
