# SPDX-License-Identifier: Apache-2.0
"""What a call gets: a grant at its begin, another one while it runs.

`memory_high` (where the kernel slows the call) lies a margin above a declared need, because
a declaration is advice: the next call of a kind takes up to twice the last one. There is a
`memory_max` (where the kernel kills) only if a rule of the policy sets one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec.structs import replace

from agentcg.daemon.engine import admission, caps, occupancy
from agentcg.daemon.engine.family import lend
from agentcg.daemon.engine.history import EMPTY
from agentcg.daemon.engine.intents import matching
from agentcg.daemon.engine.limits import most_bytes
from agentcg.daemon.engine.model import (
    Admit,
    CallRequest,
    CallView,
    Decision,
    HostView,
    IntentView,
    Refuse,
    SessionView,
)
from agentcg.daemon.engine.need import Need, bounded, of_call
from agentcg.daemon.messages import CpuLevel, Grant
from agentcg.policies import CallFacts, CallRule, Policy, categorise
from agentcg.units import format_size

MIB = 1 << 20
CPU_FACTORS: dict[CpuLevel, float] = {"low": 0.25, "normal": 1.0, "high": 4.0}
CPU_WEIGHT_MAX = 10000  # cpu.weight: 1 to 10000, default 100 (cgroup-v2.rst)
WIDEN_FACTOR = 1.5
WIDEN_FROM = 0.8  # share of memory_high; the rest may be page cache that is in use


def grant(  # noqa: PLR0917 - these six are what the decision depends on
    policy: Policy,
    host: HostView,
    session: SessionView,
    request: CallRequest,
    intents: Sequence[IntentView],
    now: float,
) -> Decision:
    """Decide on a call that wants to begin.

    Linear in the rules of the policy, the session's calls and its intents; the other
    sessions come in as one number (`HostView.committed_bytes`).
    """
    if request.parents:
        host, session = lend(host, session, request.parents)
    if session.max_calls is not None and session.running >= session.max_calls:
        return Refuse(
            f"the session has {session.running} calls running and its policy allows "
            f"{session.max_calls}",
            "end one first",
        )
    category = request.category or categorise(request.tool, request.command)
    rule = _rule(policy, host, session, request, category)
    intent = matching(intents, request.tool, request.command, category, now, request.intent)
    most = most_bytes(host, session, rule)
    need = bounded(of_call(request, intent, rule, category, session.history, now), most)
    need_bytes = need.memory_bytes or 0
    if request.expected is not None and need.declared_bytes is not None:
        said = occupancy.declared(request.expected, need_bytes, need.declared_s)
        request = replace(request, expected=said)
    beyond = caps.refusal(session, need_bytes)
    if beyond is not None:
        return admission.wait_for_own(policy.admission, session, request, need, beyond) or beyond
    wait = admission.wait(policy.admission, host, session, request, need)
    if wait is not None:
        return wait
    told = admission.told(policy.admission, host, session, request, need_bytes)
    return Admit(_grant(need, rule, most, request.waited_s), told, need.intent)


def renegotiate(
    policy: Policy, host: HostView, session: SessionView, call: CallView, request: CallRequest
) -> Grant:
    """A running call's grant after its caller declares another need or CPU level.

    What is not declared anew stays. No limit falls below what the call holds, which would
    only stall it; and beyond its former limit only high priority gets more than there is
    room for.
    """
    rule = _rule(policy, host, session, request, call.category)
    changed = call.grant
    if request.cpu is not None:
        changed = replace(changed, cpu_weight=_cpu_weight(rule, request.cpu))
    if request.memory_bytes is None:
        return changed
    most = most_bytes(host, session, rule)
    # Declared, so that neither the past of its kind nor the time matters.
    need = bounded(of_call(request, None, rule, call.category, EMPTY, 0.0), most)
    fresh = _grant(need, rule, most, call.grant.waited_s)
    fresh = replace(fresh, cpu_weight=changed.cpu_weight)
    return _held(_within_room(fresh, host, session, call), call, most)


def widen(host: HostView, session: SessionView, call: CallView) -> Grant | None:
    """A larger grant for a call that has run into its `memory_high` while there is room.

    Without it a need declared too small would stall a call on an idle host. Grows by half
    at a time. None: it is not there yet, there is no room, or there is no limit.
    """
    high, held = call.grant.memory_high_bytes, call.held_bytes
    if high is None or held is None or call.state != "running" or held < high * WIDEN_FROM:
        return None
    # What is committed to it already needs no further room.
    free = admission.room_bytes(host, session) + call.committed_bytes
    wider = min(_ceil_mib(high * WIDEN_FACTOR), free, most_bytes(host, session))
    if call.grant.memory_max_bytes is not None:
        wider = min(wider, call.grant.memory_max_bytes)
    if wider <= high:
        return None
    reason = f"held {format_size(held)} of {format_size(high)} with room to spare: widened"
    return replace(call.grant, memory_high_bytes=wider, reason=reason)


def _rule(
    policy: Policy, host: HostView, session: SessionView, request: CallRequest, category: str
) -> CallRule:
    whole = most_bytes(host, session)
    facts = CallFacts(request.tool, request.command, category, session.priority, whole)
    return policy.call(facts)


def _grant(need: Need, rule: CallRule, most: int, waited_s: float) -> Grant:
    high, maximum = _limits(need, rule, most)
    return Grant(
        memory_high_bytes=high,
        memory_max_bytes=maximum,
        cpu_weight=_cpu_weight(rule, need.cpu),
        pids_max=rule.pids_max,
        source=need.source,
        reason=_reason(need.words, high, maximum),
        rule=rule.rule,
        waited_s=waited_s,
        memory_need_bytes=need.memory_bytes,
        declared_bytes=need.declared_bytes,
        declared_s=need.declared_s,
    )


def _limits(need: Need, rule: CallRule, most: int) -> tuple[int | None, int | None]:
    """Where the kernel slows the call, and where it kills it."""
    high, maximum = rule.memory_high, rule.memory_max
    if need.margin is not None and need.declared_bytes is not None:
        high = _ceil_mib(max(need.declared_bytes, need.memory_bytes or 0) * need.margin)
    elif need.source == "history" and high is not None:
        high = max(high, need.memory_bytes or 0)
    if need.capped and need.memory_bytes is not None:
        high, maximum = None, min(need.memory_bytes, rule.memory_max or most)
    high = None if high is None else min(high, most)
    return high, None if maximum is None else min(maximum, most)


def _within_room(fresh: Grant, host: HostView, session: SessionView, call: CallView) -> Grant:
    """`fresh`, its growth over the call's former limit cut to the room that there is."""
    former, high = call.grant.memory_high_bytes, fresh.memory_high_bytes
    if session.priority == "high" or high is None or former is None or high <= former:
        return fresh
    free = admission.room_bytes(host, session) + call.committed_bytes
    allowed = max(former, min(high, free))
    if allowed == high:
        return fresh
    reason = f"{fresh.reason}; there is room for {format_size(allowed)} only"
    return replace(fresh, memory_high_bytes=allowed, reason=reason)


def _held(fresh: Grant, call: CallView, most: int) -> Grant:
    """`fresh`, its limits no lower than what the call holds."""
    held, high = call.held_bytes or 0, fresh.memory_high_bytes
    if high is None or high >= held:
        return fresh
    kept = min(_ceil_mib(held), most)
    if fresh.memory_max_bytes is not None:
        kept = min(kept, fresh.memory_max_bytes)
    reason = f"{fresh.reason}; it holds {format_size(held)} already"
    return replace(fresh, memory_high_bytes=max(high, kept), reason=reason)


def _cpu_weight(rule: CallRule, cpu: CpuLevel | None) -> int:
    weight = round(rule.cpu_weight * CPU_FACTORS[cpu or "normal"])
    return min(max(weight, 1), CPU_WEIGHT_MAX)


def _reason(words: str, high: int | None, maximum: int | None) -> str:
    parts = [words]
    if high is not None:
        parts.append(f"slowed beyond {format_size(high)}")
    if maximum is not None:
        parts.append(f"killed beyond {format_size(maximum)}")
    if high is None and maximum is None:
        parts.append("no limit of its own")
    return "; ".join(parts)


def _ceil_mib(size_bytes: float) -> int:
    return math.ceil(size_bytes / MIB) * MIB
