# SPDX-License-Identifier: Apache-2.0
"""Requests as method, target, body and bounds on the wait: what both clients send. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from agentcg.naming import check_id, check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, NamedTuple

    Cpu = Literal["low", "normal", "high"]
    IntentKind = Literal["call", "generating", "idle", "release"]
else:
    from agentcg.client.record import NamedTuple


ANSWER_S = 1.0  # for what the daemon answers at once
ALIVE_S = 0.25  # for its sign of life, where the answer may come late
COMMAND_MAX_CHARS = 4096  # the daemon takes no more
REFERENCE_MAX_CHARS = 128


class Ask(NamedTuple):
    """One request. `within_s`: for all of it; `alive_s`: for the first sign of life."""

    method: str
    target: str
    body: bytes | None
    within_s: float = ANSWER_S
    alive_s: float | None = None


class Wanted(NamedTuple):
    """A call as its caller describes it; None: for agentcg to work out."""

    tool: str
    command: str | None = None
    category: str | None = None
    reference: str | None = None
    memory_bytes: int | None = None
    cpu: Cpu | None = None
    wait_s: float = 0.0


def begin(session: str, wanted: Wanted, pid: int | None) -> Ask:
    """Begin a call. Texts are cut to what the daemon takes: a long command is no mistake."""
    fields = wanted._asdict() | {
        "tool": wanted.tool[:64] or "tool",
        "command": _cut(wanted.command, COMMAND_MAX_CHARS),
        "reference": _cut(wanted.reference, REFERENCE_MAX_CHARS),
        "pid": pid,
    }
    target = f"/v1/sessions/{check_name(session)}/calls"
    waits = wanted.wait_s > 0
    return Ask("POST", target, _body(fields), ANSWER_S + wanted.wait_s, ALIVE_S if waits else None)


def change(call: str, memory_bytes: int | None, cpu: Cpu | None, pid: int | None) -> Ask:
    """Renegotiate, or place one more process."""
    fields = {"memory_bytes": memory_bytes, "cpu": cpu, "pid": pid}
    return Ask("PATCH", f"/v1/calls/{check_id(call)}", _body(fields))


def end(call: str, exit_status: int | None, *, cancelled: bool) -> Ask:
    """End a call. A negative status is that of `subprocess`: ended by that signal."""
    if exit_status is not None:
        exit_status = 128 - exit_status if exit_status < 0 else exit_status
        exit_status = exit_status if exit_status <= 255 else None
    fields = {"exit_status": exit_status, "cancelled": True if cancelled else None}
    return Ask("POST", f"/v1/calls/{check_id(call)}/end", _body(fields))


def declare(session: str, kind: IntentKind, fields: Mapping[str, Any]) -> Ask:
    """Say what the session will need."""
    target = f"/v1/sessions/{check_name(session)}/intents"
    return Ask("POST", target, _body({"kind": kind, **fields}))


def open_session(session: str, fields: Mapping[str, Any]) -> Ask:
    """Open a session, or find it."""
    return Ask("POST", "/v1/sessions", _body({"name": check_name(session), **fields}))


def _body(fields: Mapping[str, Any]) -> bytes:
    return json.dumps({k: v for k, v in fields.items() if v is not None}).encode()


def _cut(text: str | None, most: int) -> str | None:
    if text is None:
        return None
    # A lone surrogate (from os.fsdecode) is no text that JSON could carry.
    return text[:most].encode("utf-8", "replace").decode()
