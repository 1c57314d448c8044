# SPDX-License-Identifier: Apache-2.0
"""Whether a call may begin now or waits for room.

A call waits only if all of these hold: its priority may wait (high never does), its caller
lets it wait and has not waited that long yet, its need does not fit, and a running call
holds the room, so that waiting can help. So nothing waits that is alone.
"""

from __future__ import annotations

from agentcg.daemon.engine import feedback
from agentcg.daemon.engine.model import CallRequest, HostView, SessionView, Wait
from agentcg.daemon.messages import Feedback
from agentcg.policies import AdmissionRule
from agentcg.units import format_size


def room_bytes(host: HostView, session: SessionView) -> int:
    """What a further call of `session` could have now; negative where too much is promised."""
    if session.memory_max_bytes is None:
        return host.room_bytes
    return min(host.room_bytes, session.memory_max_bytes - session.committed_bytes)


def lacks_room(host: HostView, session: SessionView, need_bytes: int) -> bool:
    """Whether running calls hold what a need of `need_bytes` would take."""
    if need_bytes > host.room_bytes and host.calls_running > 0:
        return True
    if session.memory_max_bytes is None or session.running == 0:
        return False
    return need_bytes > session.memory_max_bytes - session.committed_bytes


def wait(
    rule: AdmissionRule,
    host: HostView,
    session: SessionView,
    request: CallRequest,
    need_bytes: int,
) -> Wait | None:
    """A `Wait`, or None where the call is to go ahead."""
    if session.priority == "high" or session.priority not in rule.wait:
        return None
    left_s = min(request.wait_s, rule.wait_max_s) - request.waited_s
    if left_s <= 0 or not lacks_room(host, session, need_bytes):
        return None
    room = room_bytes(host, session)
    reason = (
        f"the call needs {format_size(need_bytes)} and {format_size(max(room, 0))} are free "
        f"beside the calls that run; it waits for room, at most {left_s:.0f}s more"
    )
    return Wait(reason, need_bytes, room, left_s)


def told(
    host: HostView, session: SessionView, request: CallRequest, need_bytes: int
) -> tuple[Feedback, ...]:
    """What a call that goes ahead is told about its waiting: that it helped, or did not."""
    if request.waited_s <= 0:
        return ()
    if lacks_room(host, session, need_bytes):
        room = room_bytes(host, session)
        return (feedback.no_room(request.waited_s, need_bytes, max(room, 0)),)
    return (feedback.waited(request.waited_s, need_bytes),)
