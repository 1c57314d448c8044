# SPDX-License-Identifier: Apache-2.0
"""Which declared intent a call follows, and what it says."""

from __future__ import annotations

from collections.abc import Sequence

from agentcg.daemon.engine.model import IntentView
from agentcg.daemon.messages import Category


def matching(  # noqa: PLR0917 - what a call can be told by
    intents: Sequence[IntentView],
    tool: str,
    command: str | None,
    category: Category,
    now: float,
    named: str | None = None,
) -> IntentView | None:
    """The fresh intent that fits a call best, or the one that it names; None where none fits.

    Fits: everything that the intent names is the same. Best: names the command, else the
    tool, else the category; among equals the latest. A `release` takes back what was
    declared before it. What was refused is not what comes next, unless it comes by name.
    Linear in the number of intents.
    """
    released_at = max(
        (i.declared_at for i in intents if i.kind == "release"), default=float("-inf")
    )
    if named is not None:
        return next((i for i in intents if i.id == named and now < i.expires_at), None)
    fitting = [
        intent
        for intent in intents
        if intent.kind in ("call", "generating")
        and released_at < intent.declared_at
        and left(intent)
        and now < intent.expires_at
        and intent.tool in (None, tool)
        and intent.command in (None, command)
        and intent.category in (None, category)
        and (intent.command is not None or not _is_refused(intent))
    ]
    return max(fitting, key=_fit, default=None)


def _is_refused(intent: IntentView) -> bool:
    return intent.offer is not None and intent.offer.state == "refused"


def _fit(intent: IntentView) -> tuple[bool, bool, bool, float, str]:
    return (
        intent.command is not None,
        intent.tool is not None,
        intent.category is not None,
        intent.declared_at,
        intent.id,  # so that the order in which intents are given does not matter
    )


def each_bytes(intent: IntentView) -> int | None:
    """What each of its calls is said to need: the p90 where a spread is declared."""
    if intent.memory_bytes is None and intent.memory_quantiles is not None:
        return intent.memory_quantiles.p90
    return intent.memory_bytes


def seconds(intent: IntentView) -> float | None:
    """How long its call is said to take: the median where a spread is declared."""
    if intent.duration_s is None and intent.duration_quantiles is not None:
        return intent.duration_quantiles.p50
    return intent.duration_s


def left(intent: IntentView) -> int:
    """Calls that are still to come."""
    return max((intent.parallelism or 1) - intent.taken, 0)


def starts_at(intent: IntentView) -> float:
    """When its first call is to begin, seconds since the epoch."""
    return intent.declared_at + (intent.start_in_s or 0.0)
