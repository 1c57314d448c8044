# SPDX-License-Identifier: Apache-2.0
"""What a call is taken to need, and on whose word.

In this order: what the call declares, what a fresh matching intent says, what earlier calls of
its kind took in this session, what a site's policy rule says, what the built-in default says.
A declaration is advice: where the session's earlier ones were far off, it is counted with what
they were worth; the limit that follows from it is never narrowed by that.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from agentcg.daemon.engine import history, intents
from agentcg.daemon.engine.model import CallRequest, IntentView
from agentcg.daemon.messages import Category, CpuLevel
from agentcg.policies import CallRule
from agentcg.units import format_size

Source = Literal["declared", "intent", "history", "policy", "default"]

ALONE_FROM = 2  # calls of a kind that ran out of memory in a row: the next one runs alone
CAPPED_FROM = 4  # ... and then without slowing the rest: it is killed at once beyond its need


class Need(Struct, frozen=True):
    """Bytes that admission counts with, and the limit that follows from them."""

    memory_bytes: int | None  # None: not known, counts as nothing
    margin: float | None  # memory_high as a multiple; None: the rule's own memory_high
    cpu: CpuLevel | None
    source: Source
    words: str  # for the grant's reason
    intent: str | None  # id of the intent that it follows
    declared_bytes: int | None = None
    declared_s: float | None = None
    alone: bool = False  # no other call of its session beside it
    capped: bool = False  # killed beyond its need, without being slowed before


def of_call(  # noqa: PLR0917 - these six are what a need depends on
    request: CallRequest,
    intent: IntentView | None,
    rule: CallRule,
    category: Category,
    past: history.History,
    now: float,
) -> Need:
    """The need of a call of `category`, to which `rule` applies."""
    cpu = request.cpu or (intent.cpu if intent is not None else None)
    followed = None if intent is None else intent.id
    failed = len(history.failures(past, request.tool, category, now))
    need = Need(
        None, None, cpu, rule.source, "", followed, alone=failed >= ALONE_FROM,
        declared_s=None if intent is None else intents.seconds(intent),
    )  # fmt: skip
    if request.memory_bytes is not None:
        return _declared(need, request.memory_bytes, past, rule.memory_margin, "declared", "")
    said = None if intent is None else intents.each_bytes(intent)
    if intent is not None and said is not None:
        margin = _doubted(rule.memory_margin, _confidence(intent, past))
        by = f" by intent {intent.id}"
        return _declared(need, said, past, margin, "intent", by)
    known = history.expected(past, request.tool, category, rule.memory, now)
    if known is not None:
        words = f"{format_size(known.need_bytes)} expected: {known.words}"
        return replace(
            need, memory_bytes=known.need_bytes, source="history", words=words,
            capped=failed >= CAPPED_FROM,
        )  # fmt: skip
    words = "need not known" if rule.memory is None else f"{format_size(rule.memory)} assumed"
    return replace(need, memory_bytes=rule.memory, words=f"{words} for {_a_call(category)}")


def _a_call(category: Category) -> str:
    if category == "other":
        return "a call of no known kind"
    return f"{'an' if category[0] in 'aeiou' else 'a'} {category} call"


def _declared(  # noqa: PLR0917
    need: Need, size_bytes: int, past: history.History, margin: float, source: Source, by: str
) -> Need:
    factor = history.correction(past)
    words = f"{format_size(size_bytes)} declared{by}"
    counted = max(round(size_bytes * factor), 1)
    if factor != 1:
        words += f", counted as {format_size(counted)} after what earlier declarations were worth"
    return replace(
        need, memory_bytes=counted, margin=margin, source=source, words=words,
        declared_bytes=size_bytes,
    )  # fmt: skip


def bounded(need: Need, bound_bytes: int) -> Need:
    """`need`, but no more than the call could ever have."""
    if need.memory_bytes is None or need.memory_bytes <= bound_bytes:
        return need
    words = f"{need.words}, of which it may have {format_size(bound_bytes)}"
    return replace(need, memory_bytes=bound_bytes, words=words)


def _confidence(intent: IntentView, past: history.History) -> float | None:
    """As declared, and what intents of the session were worth; None: nothing speaks against it."""
    trust = history.trust(past)
    if intent.confidence is None and trust == 1:
        return None
    return (1.0 if intent.confidence is None else intent.confidence) * trust


def _doubted(margin: float, confidence: float | None) -> float:
    """`margin` for a declaration of this confidence: 1 leaves it, 0 doubles it."""
    return margin if confidence is None else margin * (2.0 - confidence)
