# SPDX-License-Identifier: Apache-2.0
"""Live sessions and calls as the engine sees them, and its questions asked of it."""

from __future__ import annotations

from agentcg.daemon.engine import (
    CallRequest,
    CallView,
    Ending,
    HostView,
    SessionView,
    of_call,
    phase,
    room_bytes,
)
from agentcg.daemon.messages import Account, BeginCall, Feedback
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.hostview import Memory
from agentcg.daemon.service.state import LiveCall, LiveSession


def call_view(call: LiveCall) -> CallView:
    """A call that has a leaf."""
    return CallView(
        id=call.id,
        category=call.record.category,
        state=call.state,
        begun_at=call.record.begun_at,
        grant=call.record.grant,
        held_bytes=call.memory_bytes,
    )


def session_view(session: LiveSession) -> SessionView:
    """A session with its calls, memory as of the last look."""
    return SessionView(
        name=session.name,
        priority=session.record.priority,
        memory_max_bytes=session.record.memory_max_bytes,
        max_calls=session.record.calls_max,
        runtime_held_bytes=session.runtime_bytes,
        calls=tuple(call_view(call) for call in session.calls.values()),
    )


def host_view(core: Core) -> HostView:
    """The machine, and what all sessions hold or are promised."""
    return HostView(
        memory_total_bytes=Memory.total_bytes(),
        memory_max_bytes=core.memory_max_bytes(),
        reserve_bytes=core.policy.host.reserve_bytes(core.memory_bytes()),
        committed_bytes=core.registry.committed_bytes,
        calls_running=core.registry.calls_running,
    )


def call_request(request: BeginCall, waited_s: float) -> CallRequest:
    """A call that wants to begin."""
    return CallRequest(
        tool=request.tool,
        command=request.command,
        category=request.category,
        memory_bytes=request.memory_bytes,
        cpu=request.cpu,
        wait_s=request.wait_s,
        waited_s=waited_s,
    )


def feedback_of(core: Core, call: LiveCall, used: Account, left: int) -> list[Feedback]:
    """What the agent is told about a call that has ended, with `left` processes in it."""
    host, session = host_view(core), session_view(call.session)
    ending = Ending(
        reason=call.record.end_reason or "declared",
        exit_status=call.record.exit_status,
        lingering_processes=left,
        room_bytes=room_bytes(host, session),
        limit_bytes=min(host.bound_bytes, session.memory_max_bytes or host.bound_bytes),
        killed=call.killed,
    )
    return [*of_call(used, call.record.grant, ending), *call.feedback]


def update_phase(core: Core, session: LiveSession) -> None:
    """Work out what `session` does now, and tell if that has changed."""
    now = core.clock()
    found = phase(
        running=session.calls_running,
        paused=session.paused,
        last_active_at=session.active_at,
        intents=session.intents,
        now=now,
    )
    session.phase_until = found.until
    if found.phase != session.phase:
        before, session.phase, session.phase_since = session.phase, found.phase, now
        core.publish("phase.changed", f"{before} -> {found.phase}", session)
