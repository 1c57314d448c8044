# SPDX-License-Identifier: Apache-2.0
"""What a call is taken to need, and on whose word.

In this order: what the call declares, what a fresh matching intent says, what a site's
policy rule says, what the built-in default says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from agentcg.daemon.engine.model import CallRequest, HostView, IntentView, SessionView
from agentcg.daemon.messages import Category, CpuLevel
from agentcg.policies import CallRule
from agentcg.units import format_size

Source = Literal["declared", "intent", "policy", "default"]


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that admission counts with, and the limit that follows from them."""

    memory_bytes: int | None  # None: not known, counts as nothing
    margin: float | None  # memory_high as a multiple; None: the rule's own memory_high
    cpu: CpuLevel | None
    source: Source
    words: str  # for the grant's reason
    intent: str | None  # id of the intent that it follows


def of_call(
    request: CallRequest, intent: IntentView | None, rule: CallRule, category: Category
) -> Need:
    """The need of a call of `category`, to which `rule` applies."""
    cpu = request.cpu or (intent.cpu if intent is not None else None)
    followed = None if intent is None else intent.id
    if request.memory_bytes is not None:
        words = f"{format_size(request.memory_bytes)} declared"
        return Need(request.memory_bytes, rule.memory_margin, cpu, "declared", words, followed)
    if intent is not None and intent.memory_bytes is not None:
        words = f"{format_size(intent.memory_bytes)} declared by intent {intent.id}"
        margin = _doubted(rule.memory_margin, intent.confidence)
        return Need(intent.memory_bytes, margin, cpu, "intent", words, followed)
    words = "need not known" if rule.memory is None else f"{format_size(rule.memory)} assumed"
    return Need(rule.memory, None, cpu, rule.source, f"{words} for a {category} call", followed)


def bounded(need: Need, bound_bytes: int) -> Need:
    """`need`, but no more than the call could ever have."""
    if need.memory_bytes is None or need.memory_bytes <= bound_bytes:
        return need
    words = f"{need.words}, of which it may have {format_size(bound_bytes)}"
    return replace(need, memory_bytes=bound_bytes, words=words)


def most_bytes(host: HostView, session: SessionView, rule: CallRule | None = None) -> int:
    """The most that any call of `session` could have, whatever runs now."""
    bounds = (session.memory_max_bytes, None if rule is None else rule.memory_max)
    return min([host.bound_bytes, *(bound for bound in bounds if bound is not None)])


def _doubted(margin: float, confidence: float | None) -> float:
    """`margin` for a declaration of this confidence: 1 leaves it, 0 doubles it."""
    return margin if confidence is None else margin * (2.0 - confidence)
