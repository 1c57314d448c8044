# SPDX-License-Identifier: Apache-2.0
"""From what was observed of a session to its result."""

from __future__ import annotations

from agentcg.cgroups import Usage
from agentcg.daemon.replay.board import AgentWord, Board, CallWord
from agentcg.daemon.replay.executor import Observed
from agentcg.daemon.replay.plan import Plan
from agentcg.daemon.replay.result import (
    CallFigures,
    MemoryFigures,
    SessionResult,
    State,
    latency_of,
)

_KILLED = 128 + 9


def collect(seen: Observed, alone_s: float | None = None) -> SessionResult:
    """The result of one session; `alone_s` is what the same plan takes alone."""
    plan, board = seen.player.plan, seen.board
    state = _state(seen)
    begun_ns = board.agent(AgentWord.BEGUN) or board.agent(AgentWord.START)
    done_ns = board.agent(AgentWord.DONE) or seen.died_ns
    ended_at_s = max(0.0, (done_ns - begun_ns) / 1e9) if begun_ns and done_ns else None
    wall_s = ended_at_s if state == "completed" else None
    return SessionResult(
        priority=seen.player.priority,
        trace=plan.name,
        state=state,
        exit_status=seen.exit_status,
        ended_at_s=ended_at_s,
        during=None if state == "completed" else _during(plan, board),
        planned_s=plan.duration_s,
        wall_s=wall_s,
        late_s=None if wall_s is None else wall_s - plan.duration_s,
        alone_s=alone_s,
        x_alone=wall_s / alone_s if wall_s is not None and alone_s else None,
        latency=latency_of(board.all_latencies()),
        memory=memory_figures(None, seen.usage),
        calls=_calls(plan, board),
        cpu_usage_us=seen.usage.cpu_stat.usage_us if seen.usage else None,
    )


def _state(seen: Observed) -> State:
    if seen.exit_status is None:
        return "stalled"
    if seen.exit_status == _KILLED:
        return "killed"
    return "completed" if seen.exit_status == 0 else "failed"


def _during(plan: Plan, board: Board) -> str:
    """What the session was at when it ended: before the start, in a call, or thinking."""
    if not board.agent(AgentWord.READY):
        return "taking its base"
    for number, call in enumerate(plan.calls):
        if board.call(number, CallWord.BEGUN) and not board.call(number, CallWord.ENDED):
            return f"call {number + 1} of {len(plan.calls)}: {call.command[:60]}"
    return "thinking"


def memory_figures(before: Usage | None, after: Usage | None) -> MemoryFigures:
    """What happened between two readings of a cgroup; None before: since its creation."""
    first, last = _reading(before), _reading(after)
    return MemoryFigures(
        high_events=_since(first.high_events, last.high_events),
        max_events=_since(first.max_events, last.max_events),
        oom_events=_since(first.oom_events, last.oom_events),
        oom_kills=_since(first.oom_kills, last.oom_kills),
        stalled_us=_since(first.stalled_us, last.stalled_us),
        peak_bytes=_higher(first.peak_bytes, last.peak_bytes),
        swap_peak_bytes=_higher(first.swap_peak_bytes, last.swap_peak_bytes),
    )


def _reading(usage: Usage | None) -> MemoryFigures:
    """The counters as they stand."""
    events = usage.memory_events if usage else None
    stalled = usage.memory_stalled if usage else None
    return MemoryFigures(
        high_events=events.high if events else None,
        max_events=events.max if events else None,
        oom_events=events.oom if events else None,
        oom_kills=events.oom_kill if events else None,
        stalled_us=stalled.full_us if stalled else None,
        peak_bytes=usage.memory_peak if usage else None,
        swap_peak_bytes=usage.memory_swap_peak if usage else None,
    )


def _since(before: int | None, after: int | None) -> int | None:
    """How much a counter grew."""
    return None if after is None else after - (before or 0)


def _higher(before: int | None, after: int | None) -> int | None:
    """A peak, if it was reached since `before`."""
    return after if after is not None and (before is None or after > before) else None


def _calls(plan: Plan, board: Board) -> CallFigures:
    numbers = range(len(plan.calls))
    ended = [n for n in numbers if board.call(n, CallWord.ENDED)]
    statuses = [board.call(n, CallWord.STATUS) for n in ended]
    completed, killed = statuses.count(0), statuses.count(_KILLED)
    return CallFigures(
        planned=len(plan.calls),
        completed=completed,
        killed=killed,
        failed=len(ended) - completed - killed,
        not_run=len(plan.calls) - len(ended),
        ungoverned=sum(board.call(n, CallWord.UNGOVERNED) for n in numbers),
    )
