# SPDX-License-Identifier: Apache-2.0
"""The JSON that a client gives its hooks, as one of the few things that matter here.

Nothing is taken for granted: a newer client may leave out, add or change any field. What cannot be
understood is `other`, and nothing follows from it.

Sources: the hook references of Claude Code and Codex, `openhands.sdk.hooks`; seen with Claude Code
2.1.328, Codex 0.169.0 and OpenHands SDK 1.58.0.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["opened", "prompt", "begin", "end", "batch", "stopped", "closed", "other"]

COMMAND_MAX_CHARS = 4096
_TEXT_MAX_CHARS = 128
_BATCH_MAX = 256
_KINDS: Mapping[str, Kind] = {
    "SessionStart": "opened",
    "UserPromptSubmit": "prompt",
    "PreToolUse": "begin",
    "PostToolUse": "end",
    "PostToolUseFailure": "end",
    "PostToolBatch": "batch",
    "Stop": "stopped",
    "SessionEnd": "closed",
}
_FAILED = re.compile(r"\bexit(?:ed with)?(?: code| status)?:? (\d{1,3})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a client told. `name` is the client's own word for it.

    `conversation`: the client's id of its session, "" where it gives none. `reference` is the same
    at the begin and at the end of a call. `detached`: the command goes on after that end.
    `flat`: of OpenHands, whose answers have their fields at the top. `agent`: the sub-agent's id,
    "" for the agent itself. `batch`: references of calls that are over, also of those that the
    user, a rule or another hook denied: of these no other event tells.
    """

    kind: Kind
    name: str
    conversation: str
    tool: str = ""
    command: str = ""
    reference: str = ""
    exit_status: int | None = None
    cancelled: bool = False
    detached: bool = False
    flat: bool = False
    agent: str = ""
    batch: frozenset[str] = frozenset()


def read(given: Mapping[str, Any]) -> Event:
    """What `given` says. A call is only what has a command: other tools run in the agent itself."""
    name = _text(given, "hook_event_name", "event_type")
    conversation = _text(given, "session_id")
    kind, agent = _KINDS.get(name, "other"), _text(given, "agent_id")
    if kind == "batch":
        return Event(kind, name, conversation, agent=agent, batch=_batch(given.get("tool_calls")))
    if kind not in {"begin", "end"}:
        return Event(kind, name, conversation, agent=agent)
    entered = given.get("tool_input")
    entered = entered if isinstance(entered, Mapping) else {}
    command = _command(entered)
    tool = _text(given, "tool_name")
    if not (command and tool):
        return Event("other", name, conversation)
    return Event(
        kind,
        name,
        conversation,
        tool=tool[:64],
        command=command[:COMMAND_MAX_CHARS],
        reference=_text(given, "tool_use_id") or _digest(conversation, tool, command),
        exit_status=_status(given) if kind == "end" else None,
        cancelled=given.get("is_interrupt") is True,
        detached=entered.get("run_in_background") is True,
        flat="hook_event_name" not in given,
        agent=agent,
    )


def _text(given: Mapping[str, Any], *names: str) -> str:
    """The first of `names` that is a text: its first 128 characters, none of which is odd."""
    for name in names:
        value = given.get(name)
        if isinstance(value, str):
            return "".join(c for c in value[:_TEXT_MAX_CHARS] if c.isprintable())
    return ""


def _batch(calls: Any) -> frozenset[str]:
    listed = calls[:_BATCH_MAX] if isinstance(calls, list) else []
    found = (_text(one, "tool_use_id") for one in listed if isinstance(one, Mapping))
    return frozenset(reference for reference in found if reference)


def _command(entered: Mapping[str, Any]) -> str:
    for name in ("command", "cmd"):
        value = entered.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            return shlex.join(value)
    return ""


def _digest(conversation: str, tool: str, command: str) -> str:
    """For clients that give calls no id: the same call has the same text."""
    text = "\0".join((conversation, tool, command)).encode("utf-8", "replace")
    return f"text-{hashlib.blake2b(text, digest_size=12).hexdigest()}"


def _status(given: Mapping[str, Any]) -> int | None:
    """The exit status, where the client tells it; in words only, most of them."""
    response = given.get("tool_response")
    response = response if isinstance(response, Mapping) else {}
    for value in (response.get("exit_code"), response.get("exitCode")):
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255:
            return value
    error = given.get("error")
    said = _FAILED.search(error[:_TEXT_MAX_CHARS]) if isinstance(error, str) else None
    if said is not None and int(said[1]) <= 255:
        return int(said[1])
    # Claude Code reports failures by an event of their own: what is no failure went well.
    return 0 if given.get("hook_event_name") == "PostToolUse" and response else None
