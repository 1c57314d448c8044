# SPDX-License-Identifier: Apache-2.0
"""The two tools, and what they answer: words for the model, the same as data under `_meta`.

`_meta` keys are `dev.agentcg/need` (in a call: what it is to need, as fields of an intent),
`dev.agentcg/offer` and `dev.agentcg/feedback` (in a result). Any client or server may use them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from agentcg.client import Client
from agentcg.client.answers import Declared, feedback_of
from agentcg.errors import AgentcgError, InvalidInput
from agentcg.units import format_size, parse_size

NEED, OFFER, FEEDBACK = "dev.agentcg/need", "dev.agentcg/offer", "dev.agentcg/feedback"
CALLS_MAX = 20
_NEED_FIELDS = ("memory_bytes", "duration_s", "start_in_s", "parallelism", "command")

TOOLS: list[dict[str, Any]] = [
    {
        "name": "ask_for_room",
        "description": "Ask whether a command that needs much memory fits on this host now. "
        "Answers that memory is held for it, that it has to wait, or what would fit instead.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "memory": {"type": "string", "description": "What it needs, such as 512M or 2G."},
                "command": {"type": "string", "description": "The command that will be run."},
                "start_in_s": {"type": "number", "minimum": 0},
                "duration_s": {"type": "number", "minimum": 0},
            },
            "required": ["memory"],
        },
        "annotations": {"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False},
    },
    {
        "name": "read_feedback",
        "description": "Why the latest commands were killed, slowed or kept waiting, and what to "
        "do about it.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "limit": {"type": "integer", "minimum": 1, "maximum": CALLS_MAX, "default": 5}
            },
        },
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
]


class BadArguments(Exception):
    """The call of a tool is not as its schema says."""


class Tools:
    """The tools, for the session that `client` speaks for.

    `home` names that session anew for each call: an agent starts its servers before its hooks
    have opened a session and moved it there, with what it has started.
    """

    def __init__(self, client: Client, home: Callable[[], str] | None = None) -> None:
        self._client = client
        self._home = home

    def call(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of `tools/call`; raises `BadArguments`."""
        given, meta = params.get("arguments", {}), params.get("_meta", {})
        if not isinstance(given, dict) or not isinstance(meta, dict):
            raise BadArguments("arguments and _meta must be objects")
        name = params.get("name")
        try:
            if self._home is not None:
                self._client.session = self._home()
            if name == "ask_for_room":
                return self._ask(given, meta)
            if name == "read_feedback":
                return self._feedback(given)
        except InvalidInput as error:
            return _result(str(error), is_error=True)
        except AgentcgError as error:
            return _result(f"agentcg cannot say: {error}. Go on without it.")
        raise BadArguments(f"there is no tool {str(name)[:80]!r}")

    def _ask(self, given: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
        need = meta.get(NEED, {})
        if not isinstance(need, dict):
            raise BadArguments(f"_meta {NEED} must be an object")
        fields = {key: need[key] for key in _NEED_FIELDS if key in need}
        for key in ("start_in_s", "duration_s"):
            if isinstance(given.get(key), int | float):
                fields[key] = given[key]
        if isinstance(given.get("command"), str):
            fields["command"] = given["command"][:4096]
        if "memory" in given:
            fields["memory_bytes"] = parse_size(str(given["memory"]), "memory")
        if "memory_bytes" not in fields:
            raise BadArguments("memory is required, such as 512M")
        declared = self._client.declare("call", **fields)
        if declared is None:
            # The reason is worth a request of its own: an error that says what is wrong.
            self._client.ask("GET", f"/v1/sessions/{self._client.session}")
            return _result("agentcg did not take this. Go on without it.")
        return _result(_words(declared), {OFFER: declared.raw.get("offer")})

    def _feedback(self, given: Mapping[str, Any]) -> dict[str, Any]:
        limit = given.get("limit", 5)
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= CALLS_MAX:
            raise BadArguments(f"limit must be a whole number from 1 to {CALLS_MAX}")
        query = urlencode({"session": self._client.session, "state": "ended", "limit": 256})
        found = self._client.ask("GET", f"/v1/calls?{query}").get("calls") or []
        lines: list[str] = []
        data: list[dict[str, Any]] = []
        for call in reversed(found):
            told = [one for one in feedback_of(call) if one.code != "ok"]
            if told and len(data) < limit:
                command = " ".join(str(call.get("command") or call.get("tool")).split())[:200]
                lines.append(f"{command}: {' '.join(one.text for one in told)}")
                data.append({"call": call.get("id"), "feedback": [one.raw for one in told]})
        return _result("\n".join(lines) or "Nothing to tell: all went well.", {FEEDBACK: data})


def _words(declared: Declared) -> str:
    fits = declared.fits_bytes
    if declared.state == "grant":
        return f"There is room: {declared.reason}."
    if declared.state == "wait":
        would = f" {format_size(fits)} would fit now." if fits else ""
        return f"Not now: {declared.reason}.{would} Ask again, or run something smaller first."
    if declared.state == "refused":
        return f"It can never fit: {declared.reason}. Split it."
    return "Noted; nothing is held for it."


def _result(
    text: str, meta: dict[str, Any] | None = None, *, is_error: bool = False
) -> dict[str, Any]:
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": is_error}
    if meta is not None:
        result["_meta"] = meta
    return result
