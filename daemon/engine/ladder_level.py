# SPDX-License-Identifier: Apache-2.0
"""How far up the ladder the present room and pressure allow to go.

Room decides; each level is left at more room than it is entered at, so that a value that
swings around one threshold changes nothing. Stalls alone go no further than THROTTLE: a call
that is throttled stalls too, and would otherwise be frozen for what was done to it. What
throttling does not help is moved on by its own clock (`Tuning.throttle_stuck_s`).
"""

from __future__ import annotations

from agentcg.daemon.engine.ladder_model import Level, Load, State, Tuning

_PRESSED = (Level.KILL, Level.FREEZE, Level.THROTTLE, Level.RECLAIM)


def level_of(load: Load, stalled: bool, before: Level, tuning: Tuning) -> Level:
    """The level now, after `before`."""
    room = load.room_share
    for level in _PRESSED:
        thresholds = tuning.leave if before >= level else tuning.enter
        if room < thresholds[level - 1]:
            return level
        if stalled and level == Level.THROTTLE:
            return level
    return Level.RELAXED


def is_stalled(load: Load, state: State, tuning: Tuning) -> bool:
    """Whether sessions wait for memory because all of the bound is in use."""
    if load.stall_percent is None or load.current_bytes < tuning.stall_full * load.bound_bytes:
        return False
    threshold = tuning.stall_leave_percent if state.stalled else tuning.stall_enter_percent
    return load.stall_percent >= threshold


def look_in_s(load: Load, level: Level, at_rest: bool, tuning: Tuning) -> float | None:
    """When to look again by the clock; None where the kernel's word is enough."""
    if level > Level.RELAXED or not at_rest or is_overdrawn(load, tuning):
        return tuning.look_s
    return tuning.look_near_s if load.free_share < 2 * tuning.enter[0] else None


def is_overdrawn(load: Load, tuning: Tuning) -> bool:
    """Whether agents have grown into what is kept for them, so that promises are to be taken back
    before they do so again."""
    return load.free_bytes < last_part_bytes(load, tuning)


def last_part_bytes(load: Load, tuning: Tuning) -> int:
    """What is promised to nobody: agents themselves may take so much between two looks."""
    return int(tuning.enter[Level.KILL - 1] * load.bound_bytes)
