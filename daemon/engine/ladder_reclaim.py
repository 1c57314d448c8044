# SPDX-License-Identifier: Apache-2.0
"""The first two steps of the ladder: protect by demand, reclaim from who waits.

Both may meet a session's runtime leaf, and nothing else does. Reclaim asks for a bounded size
at a time, of one session at most once a second; where it yields little, half as often each
time (`Reclaimed.wait_s`), so that the kernel does not scan in vain.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence

from agentcg.daemon.engine.ladder_model import (
    MIB,
    RANK,
    Action,
    CallLoad,
    Level,
    Load,
    Reclaimed,
    SessionLoad,
    Tuning,
)
from agentcg.daemon.engine.ladder_survey import Target
from agentcg.daemon.engine.ladder_words import action
from agentcg.units import format_size

_PROTECT_STEP = 16 * MIB  # protection follows demand in steps, rounded down
_YIELD = 0.25  # of what was asked for; less is little

_Source = tuple[int, SessionLoad, CallLoad | None, str]  # bytes to be had, whose, key


def protect(
    load: Load, level: Level, protected: Mapping[str, int], tuning: Tuning
) -> tuple[list[Action], Mapping[str, int]]:
    """Protect what sessions of high priority hold while room is short; the sum is at most the
    bound. Relaxed: back to the share that they have anyway."""
    wanted: dict[str, int] = {}
    actions: list[Action] = []
    left = load.bound_bytes
    for session in load.sessions:
        if session.priority != "high":
            continue
        size = 0 if level == Level.RELAXED else min(session.held_bytes, left)
        size = max(size // _PROTECT_STEP * _PROTECT_STEP, 0)
        left -= size
        if size:
            wanted[session.name] = size
        if size != protected.get(session.name, 0):
            what = f"protected at {format_size(size)}" if size else "protected by its share alone"
            actions.append(action("protect", load, tuning, session, None, what, size))
    return actions, wanted


def reclaim(  # noqa: PLR0917 - what there is, what was done, and the time
    load: Load,
    level: Level,
    frozen: Sequence[Target],
    before: Mapping[str, Reclaimed],
    now: float,
    tuning: Tuning,
) -> tuple[list[Action], Mapping[str, Reclaimed]]:
    """Reclaim from agents that wait, from what calls left, and from frozen calls: most to be
    had first, low priority before high."""
    if level == Level.RELAXED:
        return [], {}
    sources = [
        source for source in _sources(load, frozen)
        if source[0] >= tuning.reclaim_least_bytes and _is_due(before.get(source[3]), now)
    ]  # fmt: skip
    chosen = heapq.nsmallest(
        tuning.batch, sources, key=lambda s: (RANK[s[1].priority], -s[0], s[3])
    )
    after = {key: done for key, done in before.items() if not _is_stale(done, now, tuning)}
    actions = []
    for available, session, call, key in chosen:
        size = min(available, tuning.reclaim_step_bytes)
        what = f"{format_size(size)} asked back from {_whose(session, call)}"
        actions.append(action("reclaim", load, tuning, session, call, what, size))
        after[key] = Reclaimed(now, available, _wait_s(before.get(key), available, tuning))
    return actions, after


def _sources(load: Load, frozen: Sequence[Target]) -> Iterator[_Source]:
    swap = load.swap_free_bytes
    for session in load.sessions:
        if session.phase == "calling":
            continue
        cache = max(session.runtime_current_bytes - session.runtime_held_bytes, 0)
        unprotected = session.runtime_current_bytes - session.runtime_low_bytes
        available = min(unprotected, cache + min(session.runtime_held_bytes, swap))
        yield available, session, None, session.name
        if swap:
            for call in session.calls:
                if not call.running and call.held_bytes:
                    yield min(call.held_bytes, swap), session, call, f"{session.name}/{call.id}"
    if swap:
        for session, call in frozen:
            if call.running or session.phase == "calling":
                yield min(call.held_bytes or 0, swap), session, call, f"{session.name}/{call.id}"


def _is_due(done: Reclaimed | None, now: float) -> bool:
    return done is None or now - done.at >= done.wait_s


def _is_stale(done: Reclaimed, now: float, tuning: Tuning) -> bool:
    """Long past its next turn: its session has gone, or has nothing left to reclaim."""
    return now - done.at > 2 * max(done.wait_s, tuning.reclaim_every_s)


def _wait_s(done: Reclaimed | None, available: int, tuning: Tuning) -> float:
    if done is None:
        return tuning.reclaim_every_s
    asked = min(done.held_bytes, tuning.reclaim_step_bytes)
    if done.held_bytes - available >= asked * _YIELD:
        return tuning.reclaim_every_s
    return min(done.wait_s * 2, tuning.reclaim_every_max_s)


def _whose(session: SessionLoad, call: CallLoad | None) -> str:
    if call is None:
        return f"the agent, which is {session.phase}"
    return "the paused call" if call.running else "what the call left"
