# SPDX-License-Identifier: Apache-2.0
"""Leases of agents: how far an agent itself may grow, while room is short, before it has to ask.

Nobody throttles, freezes or kills an agent. But one that takes more than there is brings all
sessions to their bound, and there the kernel kills: an agent, mostly, and on some kernels several.
So below twice the room of RECLAIM (`is_due`) a runtime leaf of normal or low priority has a lease,
which is its `memory.high`: what it has, page cache included, and half of the room that is left to
it. It is held up there for as long as it takes to be given more, which is milliseconds while there
is any. It has no ceiling: nothing is killed for exceeding it. With more room no agent has a lease,
and one of high priority never has, nor one whose calls the policy forbids to throttle.

**What is kept from whom** is half of what is kept from calls (`leases.kept_by_rank`): what an agent
of low priority takes of what one of high priority held of late could not be had back from it. One
that can have no more waits until others end: no call is killed for it. The first in line (higher
priority, then the larger weight) is given what is kept for others after `Tuning.throttle_max_s`.
Where all agents wait nobody will end: then, after `Tuning.freeze_max_s`, the first in line is let
go, and the kernel decides. Who waits creeps: a large agent gets 5% past its lease at megabytes a
second. Before it has used up half of what is kept its lease becomes so much shorter that this
takes minutes (`STEEP`); with swap there is no need to.

Example: 1100M for three agents, of which high and low hold 210M each and another low one 300M. It
grows by half of what is left each time, and waits at 655M. When the others end it goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agentcg.daemon.engine.ladder_model import RANK, Level, Load, SessionLoad, Tuning
from agentcg.daemon.engine.leases import kept_by_rank

STEEP = 1.2
"""Times its `memory.high`: what holds so much sleeps longest at every charge (the kernel sleeps
64 s times the square of the overage, 2 s at most: mm/memcontrol.c, calculate_high_delay)."""
_PART_KEPT = 2  # an agent may take half of what calls of its priority must leave
_PART_NEAR = 4  # a lease that leaves less than a quarter of the room is made longer unasked


@dataclass(frozen=True, slots=True)
class AgentLeases:
    """New leases by session (None: it has none any more), and who waits at his, since when."""

    leases: Mapping[str, int | None] = field(default_factory=dict)
    waiting: Mapping[str, float] = field(default_factory=dict)


def is_due(load: Load, before: bool, tuning: Tuning) -> bool:
    """Whether agents are to have leases; `before`: whether they had any so far."""
    enter, leave = tuning.enter[Level.RECLAIM - 1], tuning.leave[Level.RECLAIM - 1]
    return load.free_share < 2 * (leave if before else enter)


def lend(
    load: Load, due: bool, waiting: Mapping[str, float], now: float, tuning: Tuning
) -> AgentLeases:
    """Leases for all agents of `load`, given who waited before. Linear but for the line."""
    if not due:
        had = (s.name for s in load.sessions if s.runtime_lease_bytes is not None)
        return AgentLeases(dict.fromkeys(had))
    kept = kept_by_rank(load, tuning)
    free_bytes = load.free_bytes
    leases: dict[str, int | None] = {}
    still: dict[str, float] = {}
    for session in _line(load):
        since = waiting.get(session.name, now)
        waited_s = 0.0 if still else now - since  # others wait for the first in line
        if waited_s >= tuning.freeze_max_s and _all_wait(load, waiting):
            still[session.name] = since
            if session.runtime_lease_bytes is not None:
                leases[session.name] = None
            continue
        floor = kept[RANK[session.priority]] // _PART_KEPT
        if waited_s >= tuning.throttle_max_s:
            floor = min(floor, int(tuning.enter[Level.FREEZE - 1] * load.bound_bytes))
        room = max(free_bytes - floor, 0)
        lease = _lease(session, room, tuning)
        if lease is not None:
            leases[session.name] = lease
        if _is_held_up(session, waiting):
            if room < tuning.lease_step_bytes:
                still[session.name] = since
                if free_bytes < floor // 2 and not load.swap_free_bytes:
                    leases |= _steep(session)
            free_bytes -= room // 2
    return AgentLeases(leases, still)


def _line(load: Load) -> list[SessionLoad]:
    """Who has a lease, in the order in which they are served."""
    bounded = [s for s in load.sessions if s.priority != "high" and "throttle" in s.steps]
    bounded.sort(key=lambda s: (-RANK[s.priority], -s.weight, s.name))
    return bounded


def _all_wait(load: Load, waiting: Mapping[str, float]) -> bool:
    """Whether there is no agent left whose end could make room."""
    return all(one.name in waiting for one in load.sessions if one.held_bytes)


def _is_held_up(session: SessionLoad, waiting: Mapping[str, float]) -> bool:
    """Whether it is at its lease. Of one whose lease was made steep nothing is heard until it
    charges again: it waits all the same."""
    lease = session.runtime_lease_bytes
    over = lease is not None and session.runtime_current_bytes > lease
    return session.runtime_met or (over and session.name in waiting)


def _steep(session: SessionLoad) -> Mapping[str, int]:
    """So far below what it holds that the kernel lets through 64 pages every two seconds."""
    lease = int(session.runtime_current_bytes / STEEP)
    before = session.runtime_lease_bytes or 0
    return {session.name: lease} if before > lease + before // 64 else {}


def _lease(session: SessionLoad, room: int, tuning: Tuning) -> int | None:
    """A new lease; None: the one that it has will do."""
    holds, before = session.runtime_current_bytes, session.runtime_lease_bytes
    wanted = holds + max(room // 2, tuning.lease_step_bytes)
    if before is None or before > holds + max(room, tuning.lease_step_bytes):
        return wanted
    if room < tuning.lease_step_bytes:
        return None
    asked = session.runtime_met or before < holds + room // _PART_NEAR
    return wanted if asked and wanted - before >= tuning.lease_step_bytes else None
