# SPDX-License-Identifier: Apache-2.0
"""Whether a call may begin now or waits for room.

Room is looked for twice: beside the needs of all that runs, and, where the policy says so, beside
what running calls will hold at each point ahead (`occupancy`). What fits by either begins.

A call waits only if all of these hold: its priority may wait (high never does), its caller
lets it wait and has not waited that long yet, its need does not fit, and a running call
holds the room, so that waiting can help. So nothing waits that is alone. A call whose kind ran
out of memory again and again waits for the other calls of its session, too.
"""

from __future__ import annotations

from agentcg.daemon.engine import caps, feedback, occupancy
from agentcg.daemon.engine.model import CallRequest, HostView, Refuse, SessionView, Wait
from agentcg.daemon.engine.need import Need
from agentcg.daemon.engine.occupancy import Occupant
from agentcg.daemon.messages import Feedback
from agentcg.policies import AdmissionRule
from agentcg.units import format_size

_ALONE = "calls of this kind ran out of memory in a row; it waits for the session's others to end"


def room_bytes(host: HostView, session: SessionView) -> int:
    """What a further call of `session` could have now; negative where too much is promised."""
    rooms = [host.room_bytes]
    if session.memory_max_bytes is not None:
        rooms.append(session.memory_max_bytes - session.committed_bytes)
    of_owners = caps.room_bytes(session)
    return min(rooms if of_owners is None else [*rooms, of_owners])


def host_lacks_room(
    rule: AdmissionRule, host: HostView, need_bytes: int, expected: Occupant | None = None
) -> bool:
    """Whether running calls hold what a need of `need_bytes` would take, or will."""
    if need_bytes <= host.room_bytes or host.calls_running == 0:
        return False
    if host.ahead is None or expected is None:
        return True
    room = host.room_bytes + host.needs_bytes
    return not occupancy.fits(host.ahead, expected, room, rule.risk)


def session_lacks_room(session: SessionView, need_bytes: int) -> bool:
    """Whether calls of its own session hold what it would take of the session's bound."""
    if session.memory_max_bytes is None or session.running == 0:
        return False
    return need_bytes > session.memory_max_bytes - session.committed_bytes


def wait(
    rule: AdmissionRule,
    host: HostView,
    session: SessionView,
    request: CallRequest,
    need: Need,
) -> Wait | None:
    """A `Wait`, or None where the call is to go ahead."""
    if session.priority == "high" or session.priority not in rule.wait:
        return None
    left_s = min(request.wait_s, rule.wait_max_s) - request.waited_s
    if left_s <= 0:
        return None
    need_bytes = need.memory_bytes or 0
    if need.alone and session.running > 0:
        return Wait(_ALONE, need_bytes, room_bytes(host, session), left_s)
    of_host = host_lacks_room(rule, host, need_bytes, request.expected)
    if not of_host and not session_lacks_room(session, need_bytes):
        return None
    room = room_bytes(host, session)
    reason = (
        f"the call needs {format_size(need_bytes)} and {format_size(max(room, 0))} are free "
        "beside the calls that run or wait before it; it waits for room, "
        f"at most {left_s:.0f}s more"
    )
    if not of_host:  # held up by its own session's bound it holds up nobody behind it
        return Wait(reason, need_bytes, room, left_s)
    holds = need_bytes
    if host.ahead is not None and request.expected is not None:
        holds = min(holds, int(request.expected.peaks.p90))
    in_s = _expected_in_s(rule, host, request)
    return Wait(reason, need_bytes, room, left_s, in_s, of_host=True, holds_bytes=holds)


def _expected_in_s(rule: AdmissionRule, host: HostView, request: CallRequest) -> float | None:
    if host.ahead is None or request.expected is None:
        return None
    room = host.room_bytes + host.needs_bytes
    return occupancy.free_in_s(host.ahead, request.expected, room, rule.risk)


def wait_for_own(
    rule: AdmissionRule, session: SessionView, request: CallRequest, need: Need, beyond: Refuse
) -> Wait | None:
    """A `Wait` for other calls of the same user or tenant; None where the caller does not wait
    (any more)."""
    left_s = min(request.wait_s, rule.wait_max_s) - request.waited_s
    if left_s <= 0:
        return None
    room = caps.room_bytes(session)
    return Wait(
        f"{beyond.reason}; it waits, at most {left_s:.0f}s more",
        need.memory_bytes or 0, 0 if room is None else room, left_s,
    )  # fmt: skip


def told(
    rule: AdmissionRule,
    host: HostView,
    session: SessionView,
    request: CallRequest,
    need_bytes: int,
) -> tuple[Feedback, ...]:
    """What a call that goes ahead is told about its waiting: that it helped, or did not."""
    if request.waited_s <= 0:
        return ()
    of_host = host_lacks_room(rule, host, need_bytes, request.expected)
    if of_host or session_lacks_room(session, need_bytes):
        room = room_bytes(host, session)
        return (feedback.no_room(request.waited_s, need_bytes, max(room, 0)),)
    return (feedback.waited(request.waited_s, need_bytes),)
