# SPDX-License-Identifier: Apache-2.0
"""What survives the daemon: JSON in extended attributes of the cgroup directories.

The attributes are the marks, too: a directory without one is not ours. Readers ignore fields
that they do not know, so that an older daemon can adopt what a newer one left.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct, field

from agentcg.daemon.messages import (
    CallState,
    Category,
    EndReason,
    Grant,
    Intent,
    Priority,
)
from agentcg.errors import AgentcgError

ROOT_MARK = "agentcg.root"
SESSION_MARK = "agentcg.session"
CALL_MARK = "agentcg.call"
TALLY = "agentcg.tally"
"""Calls begun so far, in decimal; on a session and, for closed sessions, on the root."""


class Unreadable(AgentcgError):
    """An attribute of ours that does not hold what we write; its cgroup is left alone."""


class RootRecord(Struct, frozen=True, kw_only=True):
    """On the root: the bound over all sessions."""

    memory_max_bytes: int | None = None


class SessionRecord(Struct, frozen=True, kw_only=True):
    """On a session's directory."""

    id: str
    name: str
    uid: int
    priority: Priority
    weight: int
    opened_at: float
    labels: dict[str, str] = field(default_factory=dict)
    rule: str | None = None
    calls_max: int | None = None
    memory_max_bytes: int | None = None
    protect_bytes: int = 0  # memory.low that it would have if there is enough for all
    runtime_protect_bytes: int = 0
    intents: list[Intent] = field(default_factory=list)


class CallRecord(Struct, frozen=True, kw_only=True):
    """On a call's leaf; written when the call begins, changes, and starts to linger."""

    id: str
    tool: str
    category: Category
    begun_at: float
    grant: Grant
    command: str | None = None
    reference: str | None = None
    state: CallState = "running"
    ended_at: float | None = None
    end_reason: EndReason | None = None
    exit_status: int | None = None


_Record = TypeVar("_Record", RootRecord, SessionRecord, CallRecord)

encode = msgspec.json.Encoder().encode


def decode(raw: bytes, kind: type[_Record], where: str) -> _Record:
    """The record in `raw`; raises `Unreadable`, which names `where` it was found."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(
            f"{where}: the state kept there is not readable: {error}",
            remedy="its processes and limits are left as they are; remove the cgroup by hand",
        ) from error


def decode_tally(raw: bytes | None) -> int:
    """The number in a tally; 0 where there is none or it is damaged (it is only a statistic)."""
    return int(raw) if raw is not None and raw.isdigit() else 0
