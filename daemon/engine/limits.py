# SPDX-License-Identifier: Apache-2.0
"""The limits that a call is under whatever runs now."""

from __future__ import annotations

from typing import Literal

from agentcg.daemon.engine import caps
from agentcg.daemon.engine.model import HostView, SessionView
from agentcg.policies import CallRule

LimitOf = Literal["session", "user", "tenant", "host"]


def most_bytes(host: HostView, session: SessionView, rule: CallRule | None = None) -> int:
    """The most that any call of `session` could have, whatever runs now."""
    of_rule = None if rule is None else rule.memory_max
    bounds = (session.memory_max_bytes, of_rule, caps.most_bytes(session))
    return min([host.bound_bytes, *(bound for bound in bounds if bound is not None)])


def lowest_limit(host: HostView, session: SessionView) -> tuple[int, LimitOf]:
    """The lowest limit that a call of `session` is under beside its own, and whose it is."""
    found: list[tuple[int, LimitOf]] = [
        (cap.memory_max_bytes, cap.owner.of)
        for cap in session.caps if cap.memory_max_bytes is not None
    ]  # fmt: skip
    if session.memory_max_bytes is not None:
        found.append((session.memory_max_bytes, "session"))
    return min([*found, (host.bound_bytes, "host")], key=lambda limit: limit[0])
