# SPDX-License-Identifier: Apache-2.0
"""Reasons of actions: fixed words and numbers only, so bounded and without control characters."""

from __future__ import annotations

from agentcg.daemon.engine.ladder_model import (
    Action,
    CallLoad,
    Inputs,
    Level,
    Load,
    SessionLoad,
    Tuning,
)
from agentcg.daemon.messages import ActionKind, Feedback
from agentcg.units import format_duration, format_size

_LEVEL_OF: dict[ActionKind, Level] = {
    "protect": Level.RECLAIM,
    "reclaim": Level.RECLAIM,
    "throttle": Level.THROTTLE,
    "unthrottle": Level.THROTTLE,
    "freeze": Level.FREEZE,
    "thaw": Level.THROTTLE,
    "kill": Level.KILL,
}
OWN_LIMIT = "leases: a limit of its own, its session's, user's or tenant's"
"""The rule by which a call is held back that could have no more on an empty host either."""
_TAKEN_BACK: tuple[ActionKind, ...] = ("unthrottle", "thaw")


def action(  # noqa: PLR0917 - the parts of an action
    kind: ActionKind,
    load: Load,
    tuning: Tuning,
    session: SessionLoad,
    call: CallLoad | None,
    what: str,
    size_bytes: int | None = None,
    rule: str | None = None,
) -> Action:
    """An action with its reason (`what`, after the room there is), rule and inputs."""
    held = session.runtime_held_bytes if call is None else call.held_bytes
    inputs = Inputs(
        load.room_bytes, load.bound_bytes, load.stall_percent, load.swap_free_bytes,
        held, None if call is None else call.granted_bytes,
    )  # fmt: skip
    reason = f"{room(load)}: {what}"
    return Action(
        kind, session.name, None if call is None else call.id, reason,
        rule or _rule(kind, tuning), inputs, size_bytes,
    )  # fmt: skip


def room(load: Load) -> str:
    """The room there is, and the pressure."""
    free = f"{format_size(max(load.room_bytes, 0))} of {format_size(load.bound_bytes)} free"
    stall = load.stall_percent
    return free if stall is None or stall < 1 else f"{free}, {stall:.0f}% of time stalled"


def holding(call: CallLoad) -> str:
    """What a call holds of what it was granted."""
    held = "not known" if call.held_bytes is None else format_size(call.held_bytes)
    of = "" if call.granted_bytes is None else f" of {format_size(call.granted_bytes)} granted"
    return f"held {held}{of}"


def slowed(load: Load, held_bytes: int) -> Feedback:
    """What the agent of a call is told that can have no more for the time being."""
    return Feedback(
        code="no-room",
        text=f"The call holds {format_size(held_bytes)} and can have no more now: "
        f"{format_size(max(load.room_bytes, 0))} of {format_size(load.bound_bytes)} are left for "
        "all sessions. It goes on when other calls end; run fewer at once, or smaller parts.",
    )


def agent_waits(load: Load, held_bytes: int) -> str:
    """What is told of an agent that can have no more for itself for the time being."""
    return (
        f"The agent holds {format_size(held_bytes)} and can have no more now: "
        f"{format_size(max(load.room_bytes, 0))} of {format_size(load.bound_bytes)} are left, for "
        "others before it. It goes on when there is room."
    )


def killed(done: Action, begun_at: float, now: float) -> Feedback:
    """What the agent of a killed call is told: whose deed it was, and a way on."""
    held, granted = done.inputs.held_bytes or 0, done.inputs.granted_bytes
    of = "" if granted is None else f" of a {format_size(granted)} grant"
    after = format_duration(max(now - begun_at, 0.0))
    if done.rule == OWN_LIMIT:
        why = "it met a limit of its session, user or tenant again and again and did not get on"
        way = "Run a smaller part, or end what else the session has running."
    else:
        room_bytes = format_size(max(done.inputs.room_bytes, 0))
        why = f"{room_bytes} of {format_size(done.inputs.bound_bytes)} were left for all sessions"
        why += " and slowing and pausing calls did not help"
        way = "Run a smaller part, or run it again when other calls have ended."
    return Feedback(
        code="killed",
        text=f"agentcg killed the call at {format_size(held)}{of} after {after}, because {why}; it "
        f"did not fail by itself. {way}",
    )


def _rule(kind: ActionKind, tuning: Tuning) -> str:
    level = _LEVEL_OF[kind]
    if kind in _TAKEN_BACK:
        return f"ladder: {kind} at {100 * tuning.leave[level - 1]:g}% of room"
    return f"ladder: {kind} below {100 * tuning.enter[level - 1]:g}% of room"
