# SPDX-License-Identifier: Apache-2.0
"""Live sessions and calls as the engine sees them, and its questions asked of it."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from agentcg.daemon.engine import (
    CallRequest,
    CallView,
    Cap,
    Ending,
    HostView,
    Leaving,
    SessionView,
    is_plain,
    lowest_limit,
    of_call,
    phase,
    room_bytes,
)
from agentcg.daemon.engine.history import failures
from agentcg.daemon.engine.occupancy import Occupant
from agentcg.daemon.engine.timeline import held_back
from agentcg.daemon.messages import Account, BeginCall, Feedback
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.host.hostview import Memory
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


def session_view(session: LiveSession, caps: tuple[Cap, ...] = ()) -> SessionView:
    """A session with its calls, memory as of the last look."""
    return SessionView(
        name=session.name,
        priority=session.record.priority,
        memory_max_bytes=session.record.memory_max_bytes,
        max_calls=session.record.calls_max,
        runtime_held_bytes=session.runtime_bytes,
        calls=tuple(call_view(call) for call in session.calls.values()),
        history=session.history,
        caps=caps,
    )


def caps_of(core: Core, session: LiveSession) -> tuple[Cap, ...]:
    """What all sessions of its user and tenant may have by the policy, and what they have."""
    registry, whole = core.registry, core.memory_bytes()
    found = []
    for owner in session.owners:
        rule, name = core.cap_rule(owner, whole)
        if rule.memory_max is not None or rule.max_calls is not None:
            setting = "max_calls" if rule.memory_max is None else "memory_max"
            found.append(
                Cap(
                    owner, name, rule.memory_max, rule.max_calls,
                    registry.committed_by[owner] + registry.reserved_by[owner]
                    - session.reserved_bytes,
                    registry.running_by[owner],
                    rule.rules.get(setting),
                )
            )  # fmt: skip
    return tuple(found)


def share_of(core: Core, session: LiveSession) -> Callable[[], float]:
    """What its user, or its tenant, has of the room for its weight: asked later, and often."""
    owner = session.owners[0]
    weight = core.cap_rule(owner, core.memory_bytes())[0].weight
    return lambda: core.registry.committed_by[owner] / weight


def host_view(core: Core, ahead_bytes: int = 0, session: LiveSession | None = None) -> HostView:
    """The machine, and what all sessions hold or are promised, or what is held for their intents.

    `ahead_bytes`: what calls are waiting for that are to begin first; `session`: whose own intents
    do not count.
    """
    reserved = core.registry.reserved_bytes - (0 if session is None else session.reserved_bytes)
    return HostView(
        memory_total_bytes=Memory.total_bytes(),
        memory_max_bytes=core.memory_max_bytes(),
        reserve_bytes=core.policy.host.reserve_bytes(core.memory_bytes()),
        committed_bytes=core.registry.committed_bytes + reserved + ahead_bytes,
        calls_running=core.registry.calls_running - core.registry.parents_waiting,
    )


def with_ahead(core: Core, host: HostView, session: LiveSession) -> HostView:
    """`host` with what running calls will hold, where the policy admits by that."""
    if core.policy.policy.admission.by != "future":
        return host
    ahead, needs = core.future.ahead(session)
    return replace(host, ahead=ahead, needs_bytes=needs)


def parents_of(session: LiveSession, call_id: str | None) -> tuple[str, ...]:
    """The running calls that wait for a child of `call_id`: itself, its parent, and so on."""
    found: list[str] = []
    while call_id is not None and call_id not in found:
        call = session.calls.get(call_id)
        if call is None or call.state != "running":
            break
        found.append(call_id)
        call_id = call.record.parent
    return tuple(found)


def call_request(
    request: BeginCall,
    waited_s: float,
    expected: Occupant | None = None,
    parents: tuple[str, ...] = (),
) -> CallRequest:
    """A call that wants to begin."""
    return CallRequest(
        tool=request.tool,
        command=request.command,
        category=request.category,
        memory_bytes=request.memory_bytes,
        cpu=request.cpu,
        intent=request.intent,
        parents=parents,
        expected=expected,
        wait_s=request.wait_s,
        waited_s=waited_s,
    )


def feedback_of(core: Core, call: LiveCall, used: Account, left: int) -> list[Feedback]:
    """What the agent is told about a call that has ended, with `left` processes in it."""
    now, record = core.clock(), call.record
    held = held_back(call.actions, record.ended_at or now)
    ending = Ending(
        reason=record.end_reason or "declared",
        exit_status=record.exit_status,
        cancelled=call.cancelled,
        lingering_processes=left,
        lease_bytes=call.lease_bytes,
        killed=call.killed,
        slowed_s=held.slowed_s,
        frozen_s=held.frozen_s,
        category=record.category,
        failed=_failed(call, now),
        leaving=_leaving(call),
    )
    if not is_plain(used, record.grant, ending):
        host = host_view(core, session=call.session)
        session = session_view(call.session, caps_of(core, call.session))
        limit, limit_of = lowest_limit(host, session)
        ending = replace(
            ending, room_bytes=room_bytes(host, session), limit_bytes=limit, limit_of=limit_of
        )
    return [*of_call(used, record.grant, ending), *call.feedback]


def _failed(call: LiveCall, now: float) -> tuple[int, ...]:
    """What the calls of its kind held when they ran out of memory, if this is one of them."""
    record = call.record
    if record.end_reason not in ("oom", "killed"):
        return ()
    return failures(call.session.history, record.tool, record.category, now)


def _leaving(call: LiveCall) -> Leaving:
    """What calls of its kind have left running in its session."""
    record = call.record
    kind = (record.tool, record.category)
    left = [
        other for other in call.session.calls.values()
        if other.state == "lingering" and (other.record.tool, other.record.category) == kind
    ]  # fmt: skip
    return Leaving(len(left), sum(other.memory_bytes or 0 for other in left))


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
        core.contenders_changed()
