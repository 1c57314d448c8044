# SPDX-License-Identifier: Apache-2.0
"""Settings of the policy as knobs of the kernel, and how protection is shared out.

A setting without a limit is written as `MAX`, not left alone, so that applying the limits of
a new policy undoes what an older one set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agentcg.cgroups import MAX, Limits
from agentcg.cgroups.values import Limit
from agentcg.daemon.messages import Grant, Priority
from agentcg.policies import HostRule, SessionRule

RUNTIME_CPU_WEIGHT = 400
"""The agent itself against its calls (100 each): it uses 2% of a core and four calls at once
are the most that were seen, so it answers at once and takes nothing from them."""

_ORDER: tuple[Priority, ...] = ("high", "normal", "low")


@dataclass(frozen=True, slots=True)
class Protection:
    """What a session wants protected from reclaim (`memory.low`), in bytes."""

    session: str
    priority: Priority
    wanted_bytes: int


def wanted(session: str, rule: SessionRule) -> Protection:
    """What `rule` asks for `session`: enough for the runtime leaf to be protected inside it."""
    return Protection(session, rule.priority, max(rule.memory_low, rule.runtime_memory_low))


def protect(sessions: Iterable[Protection], bound_bytes: int) -> dict[str, int]:
    """Protection of each session; the sum never exceeds `bound_bytes`.

    Promising more than there is would leave the kernel nothing to reclaim and end in an OOM
    kill. High priority is served first; where a priority's wishes exceed what is left, its
    sessions share it in proportion to what they want. Linear in the number of sessions.
    """
    by_priority: dict[Priority, list[Protection]] = {priority: [] for priority in _ORDER}
    for session in sessions:
        by_priority[session.priority].append(session)
    shares: dict[str, int] = {}
    left = max(bound_bytes, 0)
    for priority in _ORDER:
        total = sum(session.wanted_bytes for session in by_priority[priority])
        for session in by_priority[priority]:
            fits = total <= left
            part = session.wanted_bytes if fits else session.wanted_bytes * left // total
            shares[session.session] = part
        left -= min(total, left)
    return shares


def host_limits(rule: HostRule) -> Limits:
    """Knobs of the root of all sessions."""
    return Limits(memory_max=_limit(rule.memory_max))


def session_limits(rule: SessionRule, memory_low_bytes: int) -> Limits:
    """Knobs of a session; `memory_low_bytes` is its share from `protect`."""
    weight = min(max(round(rule.cpu_weight * rule.weight / 100), 1), 10000)
    return Limits(
        memory_low=memory_low_bytes,
        memory_high=_limit(rule.memory_high),
        memory_max=_limit(rule.memory_max),
        cpu_weight=weight,
        pids_max=_limit(rule.pids_max),
    )


def runtime_limits(rule: SessionRule, memory_low_bytes: int) -> Limits:
    """Knobs of a session's runtime leaf: protected within the session's protection."""
    return Limits(
        memory_low=min(rule.runtime_memory_low, memory_low_bytes),
        cpu_weight=RUNTIME_CPU_WEIGHT,
    )


def call_limits(grant: Grant) -> Limits:
    """Knobs of a call's leaf. The OOM killer takes all of a call or nothing of it."""
    return Limits(
        memory_high=_limit(grant.memory_high_bytes),
        memory_max=_limit(grant.memory_max_bytes),
        memory_oom_group=True,
        cpu_weight=grant.cpu_weight,
        pids_max=_limit(grant.pids_max),
    )


def _limit(value: int | None) -> Limit:
    return MAX if value is None else value
