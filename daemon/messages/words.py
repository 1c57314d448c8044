# SPDX-License-Identifier: Apache-2.0
"""Names, bounds and choices that requests and answers share, and their base classes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from agentcg.naming import ID_PATTERN, NAME_PATTERN

# --- Bounds -------------------------------------------------------------------------------

BODY_MAX_BYTES = 64 * 1024
HOOK_MAX_BYTES = 1 << 20  # what a client gives its hooks has the output of the tool in it
HISTORY_LISTED_MAX = 256
EVENTS_KEPT = 1024  # how far back Last-Event-ID can reach

Name = Annotated[str, Meta(pattern=NAME_PATTERN, description="letters, digits, _ and -")]
Label = Annotated[str, Meta(max_length=128)]
LabelKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}(?!\n)$")]
Labels = Annotated[dict[LabelKey, Label], Meta(max_length=16)]
Tool = Annotated[str, Meta(min_length=1, max_length=64)]
Command = Annotated[str, Meta(max_length=4096)]
Reference = Annotated[str, Meta(max_length=128, description="the caller's own id, kept as is")]
Id = Annotated[str, Meta(pattern=ID_PATTERN)]
SizeBytes = Annotated[int, Meta(ge=1 << 20, le=1 << 50, description="1 MiB to 1 PiB")]
Seconds = Annotated[float, Meta(ge=0, le=86400)]
EpochSeconds = Annotated[float, Meta(ge=0, le=1e11)]
WaitSeconds = Annotated[float, Meta(ge=0, le=600)]
Pid = Annotated[int, Meta(ge=1, le=1 << 22)]
Weight = Annotated[int, Meta(ge=1, le=10000)]
Confidence = Annotated[float, Meta(ge=0, le=1)]
Parallelism = Annotated[int, Meta(ge=1, le=64)]
ExitStatus = Annotated[int, Meta(ge=0, le=255, description="as a shell sees it: 128+n = signal n")]

Priority = Literal["high", "normal", "low"]
CpuLevel = Literal["low", "normal", "high"]
Phase = Literal["thinking", "calling", "idle", "paused"]
Category = Literal[
    "test", "install", "build", "python", "git", "search", "edit", "lint", "fileop", "web", "other"
]
IntentKind = Literal["call", "generating", "idle", "release"]
OfferState = Literal["grant", "wait", "refused", "lapsed"]
CallState = Literal["running", "lingering", "ended"]
EndReason = Literal[
    "declared", "exited", "emptied", "expired", "oom", "killed", "session-closed"
]  # exited: its first process ended, of a call that was found
How = Literal["declared", "hook", "environment", "signature", "generic"]
ActionKind = Literal[
    "wait", "grant", "lease",
    "protect", "reclaim", "throttle", "unthrottle", "freeze", "thaw", "kill",
]  # fmt: skip
EventKind = Literal[
    "session.opened",
    "session.closed",
    "call.begun",
    "call.ended",
    "call.gone",
    "call.oom",
    "call.over_grant",
    "call.throttled",
    "call.unthrottled",
    "call.frozen",
    "call.thawed",
    "call.killed",
    "session.reclaimed",
    "session.slowed",
    "intent.declared",
    "intent.changed",  # another answer to it than before, or it was taken back
    "grant.changed",
    "phase.changed",
    "pressure",
    "policy.reloaded",
    "policy.rejected",
    "daemon.started",
    "daemon.stopping",
    "events.lost",  # to one reader: what it missed, being too slow or away too long
]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a client sends."""


class Answer(Struct, frozen=True, kw_only=True):
    """Base of what the daemon sends."""
