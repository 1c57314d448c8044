# SPDX-License-Identifier: Apache-2.0
"""How protection from reclaim (`memory.low`) is shared out among sessions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agentcg.daemon.messages import Priority
from agentcg.policies import SessionRule

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
