# SPDX-License-Identifier: Apache-2.0
"""What all sessions of a user or a tenant may have together: asked when a call begins.

A call that would go beyond waits, whatever its priority, if its caller lets it: it waits for calls
of its own user or tenant, not for those of others. Then it is refused, and told what would fit.
"""

from __future__ import annotations

from agentcg.daemon.engine.model import Cap, Refuse, SessionView
from agentcg.units import format_size


def most_bytes(session: SessionView) -> int | None:
    """The most that any call of `session` could have under its caps; None: no cap."""
    bounds = [cap.memory_max_bytes for cap in session.caps if cap.memory_max_bytes is not None]
    return min(bounds, default=None)


def room_bytes(session: SessionView) -> int | None:
    """What a further call of `session` could have under its caps; None: no cap."""
    rooms = [cap.room_bytes for cap in session.caps if cap.room_bytes is not None]
    return min(rooms, default=None)


def refusal(session: SessionView, need_bytes: int) -> Refuse | None:
    """Why a further call goes beyond a cap, and what would fit; None if it does not.

    A user none of whose calls run is not held up: there is nothing that it could wait for.
    """
    for cap in session.caps:
        if cap.max_calls is not None and cap.calls_running >= cap.max_calls:
            return Refuse(
                f"{cap.name} has {cap.calls_running} calls running in all its sessions and its "
                f"policy allows {cap.max_calls}",
                f"end one first, or let the call wait (wait_s){_where(cap)}",
                cap.rule,
            )
        room = cap.room_bytes
        if room is not None and need_bytes > room and cap.calls_running > 0:
            return Refuse(
                f"the call needs {format_size(need_bytes)}, and of the "
                f"{format_size(cap.memory_max_bytes)} that all sessions of {cap.name} may use "
                f"{format_size(max(room, 0))} are free",
                _what_fits(cap, room),
                cap.rule,
            )
    return None


def _what_fits(cap: Cap, room_bytes: int) -> str:
    fits = (
        "nothing fits now" if room_bytes <= 0
        else f"a declared need of at most {format_size(room_bytes)} fits now"
    )  # fmt: skip
    others = f"or end one of its {cap.calls_running} calls, or let this one wait (wait_s)"
    return f"{fits}; {others}{_where(cap)}"


def _where(cap: Cap) -> str:
    return f" ({cap.rule})" if cap.rule else ""
