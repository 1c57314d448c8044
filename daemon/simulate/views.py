# SPDX-License-Identifier: Apache-2.0
"""Simulated hosts, sessions and calls as the engine sees them, as the service has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from agentcg.daemon.engine import CallView, HostView, SessionView, occupancy, queue
from agentcg.daemon.engine.ladder_model import CallLoad, SessionLoad
from agentcg.daemon.engine.leases import MET_FROM, faded_peak
from agentcg.daemon.engine.occupancy import Ahead
from agentcg.daemon.engine.queue import Order
from agentcg.daemon.simulate.session import Host, LiveCall, Session, count
from agentcg.policies import Policy, SessionRule

if TYPE_CHECKING:
    from agentcg.daemon.simulate.world import World


def host_view(host: Host, policy: Policy, ahead_bytes: int) -> HostView:
    """The host; `ahead_bytes`: what calls wait for that are to begin first."""
    bound = int(host.pool.limit)
    return HostView(
        memory_total_bytes=bound,
        memory_max_bytes=bound,
        reserve_bytes=policy.host(bound).reserve_bytes(bound),
        committed_bytes=int(host.committed_bytes) + ahead_bytes,
        calls_running=host.calls_running,
    )


def order(call: LiveCall, now: float, overtake_max_s: float) -> Order:
    """Its place in the queue; one user has all sessions."""
    assert call.standing is not None  # noqa: S101
    return queue.order(call.standing, 0.0, now, overtake_max_s)


def ahead_bytes(session: Session, call: LiveCall, now: float, overtake_max_s: float) -> int:
    """What those wait for that are before `call` in the queue."""
    own = order(call, now, overtake_max_s)
    return sum(
        other.waits_for_bytes
        for _, other in session.host.waiting.values()
        if other is not call and order(other, now, overtake_max_s) < own
    )


def ahead(host: Host, now: float) -> tuple[Ahead, int]:
    """What running calls will hold, and what their needs are."""
    occupants, needs = [], 0.0
    for session in host.sessions:
        for call in session.calls.values():
            if call.forecast is not None:
                held = 0 if call.process is None else int(call.process.level)
                since_s = now - call.begun_at
                occupants.append(
                    occupancy.occupant(call.forecast, since_s=since_s, held_bytes=held)
                )
                needs += call.committed_bytes
    return occupancy.ahead(occupants), int(needs)


def session_view(session: Session, rule: SessionRule) -> SessionView:
    """A session with its calls and what is known of earlier ones."""
    runtime = session.runtime
    calls = [call_view(call) for call in session.calls.values() if call.grant is not None]
    return SessionView(
        name=session.name,
        priority=session.priority,
        memory_max_bytes=rule.memory_max,
        max_calls=rule.max_calls,
        runtime_held_bytes=0 if runtime is None else int(runtime.charged),
        calls=tuple(calls),
        history=session.history,
    )


def call_view(call: LiveCall) -> CallView:
    """A call that has a grant."""
    assert call.grant is not None  # noqa: S101
    held = None if call.process is None else int(call.process.level)
    return CallView(call.id, call.program.category, "running", call.begun_at, call.grant, held)


def loads(host: Host, world: World, rules: Mapping[str, SessionRule]) -> tuple[SessionLoad, ...]:
    """All sessions and calls, looked at now."""
    return tuple(
        _load(session, world, rules[session.name])
        for session in host.sessions
        if session.runtime is not None
    )


def _load(session: Session, world: World, rule: SessionRule) -> SessionLoad:
    held = 0.0
    for process in session.processes:
        process.settle(world.now)
        count(process)
        held += process.level - process.swapped
    session.peak_bytes = faded_peak(session.peak_bytes, int(held), world.now - session.peak_at)
    session.peak_at = world.now
    agent = session.runtime
    runtime = 0 if agent is None else int(agent.level - agent.swapped)
    high = None if agent is None else agent.high
    lease = None if agent is None or high is None else int(high - agent.swapped)
    room = None if rule.memory_max is None else rule.memory_max - int(held)
    return SessionLoad(
        name=session.name,
        priority=session.priority,
        phase=session.phase,
        runtime_held_bytes=runtime,
        runtime_current_bytes=runtime,
        runtime_low_bytes=min(runtime, rule.runtime_memory_low),
        calls=tuple(call_load(call) for call in session.calls.values()),
        peak_bytes=int(session.peak_bytes),
        weight=rule.weight,
        room_bytes=room,
        steps=rule.steps,
        runtime_lease_bytes=lease,
        runtime_met=agent is not None and agent.meets_high,
    )


def call_load(call: LiveCall) -> CallLoad:
    """A call, looked at now."""
    held = 0 if call.process is None else int(call.process.level)
    events = 0 if call.process is None else call.process.high_events
    if call.met and held < MET_FROM * (call.lease_bytes or 0):
        call.met = False
    granted = limit = None
    if call.grant is not None:
        need, high = call.grant.memory_need_bytes, call.grant.memory_high_bytes
        granted = high if need is None else need
        limit = call.grant.memory_max_bytes
    most = None if call.process is None or call.process.max is None else int(call.process.max)
    return CallLoad(
        call.id, call.begun_at, True, held, granted, limit, events, call.lease_bytes, call.met,
        most, call.process is not None and call.process.frozen,
    )  # fmt: skip
