# SPDX-License-Identifier: Apache-2.0
"""What the daemon answers, as far as an agent needs it; all else is in `raw`.

Answers may grow fields and lack some: nothing here fails for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from agentcg.errors import AgentcgError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from agentcg.client.record import NamedTuple


class Grant(NamedTuple):
    """What a call was given, and why. None: no limit of its own."""

    memory_high_bytes: int | None
    memory_max_bytes: int | None
    source: str
    reason: str
    waited_s: float


class Feedback(NamedTuple):
    """What the daemon tells the agent: a stable code, a text, and its numbers as `raw`."""

    code: str
    text: str
    raw: Mapping[str, Any]


class Declared(NamedTuple):
    """An intent as the daemon keeps it, and its present answer: `state` is `grant`, `wait`,
    `refused` or `lapsed`, "" for intents that nothing is held for (docs/api.md)."""

    id: str
    state: str
    reason: str
    memory_bytes: int | None  # held for it
    fits_bytes: int | None  # what one call could have
    position: int | None  # among those who wait; 1 is the next
    raw: Mapping[str, Any]


def declared_of(answer: Mapping[str, Any]) -> Declared:
    """The intent in an answer."""
    given = answer.get("offer")
    offer = given if isinstance(given, dict) else {}
    return Declared(
        str(answer.get("id", "")),
        str(offer.get("state", "")),
        str(offer.get("reason", "")),
        offer.get("memory_bytes"),
        offer.get("fits_bytes"),
        offer.get("position"),
        answer,
    )


def grant_of(answer: Mapping[str, Any]) -> Grant | None:
    """The grant in the answer to a begin."""
    given = answer.get("grant")
    if not isinstance(given, dict):
        return None
    return Grant(
        given.get("memory_high_bytes"),
        given.get("memory_max_bytes"),
        str(given.get("source", "")),
        str(given.get("reason", "")),
        float(given.get("waited_s") or 0.0),
    )


def feedback_of(answer: Mapping[str, Any]) -> tuple[Feedback, ...]:
    """The feedback in an answer, the gravest first."""
    return tuple(
        Feedback(str(one.get("code", "")), str(one.get("text", "")), one)
        for one in answer.get("feedback") or ()
        if isinstance(one, dict)
    )


def decoded(body: bytes) -> dict[str, Any]:
    """The object in an answer; an empty body is an empty one. Raises `AgentcgError`."""
    try:
        given = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise AgentcgError(f"the daemon's answer is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise AgentcgError("the daemon's answer is no JSON object")
    return given
