# SPDX-License-Identifier: Apache-2.0
"""What frameworks have in common: the command in a tool's arguments, and words for the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentcg.client.calls import CallState

_COMMANDS = ("command", "cmd", "commands", "code", "query")
WAITED_TOLD_S = 1.0


def command_in(arguments: Any) -> str | None:
    """The command, or what is nearest to one, in the arguments of a tool."""
    if not isinstance(arguments, Mapping):
        return None
    for name in _COMMANDS:
        value = arguments.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            return " ".join(value)
    return None


def words(call: CallState) -> str:
    """What the model should read about `call`: "" if nothing."""
    texts = [
        one.text
        for one in call.feedback
        if one.code != "ok"
        and not (one.code == "waited" and (one.raw.get("waited_s") or 0) < WAITED_TOLD_S)
    ]
    return f"agentcg: {' '.join(texts)}" if texts else ""


def added(text: str, more: str) -> str:
    """`text` with `more` on a line of its own."""
    if not more:
        return text
    return f"{text.rstrip()}\n{more}" if text.strip() else more
