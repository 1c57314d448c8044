# SPDX-License-Identifier: Apache-2.0
"""Which declared intent a call follows."""

from __future__ import annotations

from collections.abc import Sequence

from agentcg.daemon.engine.model import IntentView
from agentcg.daemon.messages import Category


def matching(
    intents: Sequence[IntentView], tool: str, command: str | None, category: Category, now: float
) -> IntentView | None:
    """The fresh intent that fits a call best; None where none fits.

    Fits: everything that the intent names is the same. Best: names the command, else the
    tool, else the category; among equals the latest. A `release` takes back what was
    declared before it. Linear in the number of intents.
    """
    released_at = max(
        (i.declared_at for i in intents if i.kind == "release"), default=float("-inf")
    )
    fitting = [
        intent
        for intent in intents
        if intent.kind in ("call", "generating")
        and released_at < intent.declared_at
        and now < intent.expires_at
        and intent.tool in (None, tool)
        and intent.command in (None, command)
        and intent.category in (None, category)
    ]
    return max(fitting, key=_fit, default=None)


def _fit(intent: IntentView) -> tuple[bool, bool, bool, float, str]:
    return (
        intent.command is not None,
        intent.tool is not None,
        intent.category is not None,
        intent.declared_at,
        intent.id,  # so that the order in which intents are given does not matter
    )
