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
    Foreseen,
    Grant,
    How,
    Intent,
    Priority,
)
from agentcg.errors import AgentcgError

RUNTIME = "runtime"
"""The leaf of a session in which its agent lives."""
ROOT_MARK = "agentcg.root"
SESSION_MARK = "agentcg.session"
CALL_MARK = "agentcg.call"
HAND_MARK = "agentcg.by-hand"  # somebody froze the call, and nobody but people thaws it
ALL_STEPS = frozenset({"throttle", "freeze", "kill"})  # as policies.STEPS has them
SERVER_MARK = "agentcg.server"
TALLY = "agentcg.tally"
"""Calls begun so far, in decimal; on a session and, for closed sessions, on the root."""


class Unreadable(AgentcgError):
    """An attribute of ours that does not hold what we write; its cgroup is left alone."""


class RootRecord(Struct, frozen=True, kw_only=True):
    """On the root: the bound over all sessions."""

    memory_max_bytes: int | None = None


class Origin(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a session's processes lived when it was opened; None where that is not known."""

    cgroup: str | None = None  # as in /proc/PID/cgroup
    unit: str | None = None
    container: str | None = None  # its id
    container_name: str | None = None
    image: str | None = None


class SessionRecord(Struct, frozen=True, kw_only=True):
    """On a session's directory."""

    id: str
    name: str
    uid: int
    adopted: bool = False  # closed by itself when its last process is gone
    distant: bool = False  # its agent lives elsewhere: closed by itself when it is silent for long
    priority: Priority
    weight: int
    opened_at: float
    labels: dict[str, str] = field(default_factory=dict)
    rule: str | None = None
    calls_max: int | None = None
    memory_max_bytes: int | None = None
    memory_high_bytes: int | None = None
    pids_max: int | None = None
    cpu_weight: int = 100  # that it has while no others count
    protect_bytes: int = 0  # memory.low that it would have if there is enough for all
    runtime_protect_bytes: int = 0
    tenant: str | None = None
    origin: Origin = Origin()
    asked_priority: Priority | None = None
    asked_weight: int | None = None
    steps: frozenset[str] = ALL_STEPS  # of the ladder, that may be taken
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
    told_oom: bool = False  # said once, also over restarts
    told_over_grant: bool = False
    found: How = "declared"
    client: str | None = None
    shared: bool = False
    leader: int | None = None  # of a found call: its first process, and that one's birth
    leader_start_ticks: int = 0
    ends_with_leader: bool = True
    placed_after_us: int | None = None
    intent: str | None = None  # that it followed
    parent: str | None = None  # the call that waits for it
    foreseen: Foreseen | None = None


class ServerRecord(Struct, frozen=True, kw_only=True):
    """On the leaf of a server of tools."""

    command: str
    started_at: float


_Record = TypeVar("_Record", RootRecord, SessionRecord, CallRecord, ServerRecord)

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
