# SPDX-License-Identifier: Apache-2.0
"""What clients send."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field, structs

from agentcg.daemon.messages.words import (
    HISTORY_LISTED_MAX,
    Category,
    Command,
    Confidence,
    CpuLevel,
    EpochSeconds,
    ExitStatus,
    Id,
    IntentKind,
    Labels,
    Name,
    Parallelism,
    Pid,
    Priority,
    Reference,
    Request,
    Seconds,
    SizeBytes,
    Tool,
    WaitSeconds,
    Weight,
)


class OpenSession(Request, frozen=True):
    """Open a session, or find the one of this name (then nothing of it is changed)."""

    name: Name
    priority: Priority | None = None  # None: the policy decides
    weight: Weight | None = None
    labels: Labels = field(default_factory=dict)
    pids: Annotated[list[Pid], Meta(max_length=256)] = field(default_factory=list)
    """Processes of the agent; they are moved into the session's runtime leaf."""


class SizeQuantiles(Request, frozen=True):
    """A size of which only the spread is known, in bytes; none below the one before."""

    p50: SizeBytes
    p90: SizeBytes
    p99: SizeBytes


class SecondsQuantiles(Request, frozen=True):
    """A time of which only the spread is known; none below the one before."""

    p50: Seconds
    p90: Seconds
    p99: Seconds


class _Need(Request, frozen=True, kw_only=True):
    """What an intent can say of the need, and a change of it say anew."""

    memory_bytes: SizeBytes | None = None  # of each call
    memory_quantiles: SizeQuantiles | None = None  # instead; its p90 is counted with
    cpu: CpuLevel | None = None
    start_in_s: Seconds | None = None
    duration_s: Seconds | None = None
    duration_quantiles: SecondsQuantiles | None = None  # instead
    deadline_s: Seconds | None = None
    confidence: Confidence | None = None
    parallelism: Parallelism | None = None  # calls of the kind at once; None: 1
    after: Annotated[list[Id], Meta(max_length=16)] | None = None
    """Intents of the session whose calls have to end first; nothing is held before."""


class DeclareIntent(_Need, frozen=True, kw_only=True):
    """Say what will be needed; the answer says what is held for it, and until when."""

    kind: IntentKind
    tool: Tool | None = None
    command: Command | None = None
    category: Category | None = None
    parent: Id | None = None
    """An intent that this one is a part of (what is held for it is shared), or a running call that
    waits for this one."""


class ChangeIntent(_Need, frozen=True):
    """Change a declaration: what is given replaces what was said, the rest stays."""


class BeginCall(Request, frozen=True):
    """Begin a tool call; the answer carries its grant and its cgroup."""

    tool: Tool
    command: Command | None = None
    category: Category | None = None  # None: worked out from tool and command
    reference: Reference | None = None
    memory_bytes: SizeBytes | None = None  # None: intent, then policy, decide
    cpu: CpuLevel | None = None
    pid: Pid | None = None  # process to place; None: the caller places it itself
    wait_s: WaitSeconds = 0.0  # wait for room at most so long, then go ahead
    intent: Id | None = None  # that it follows; None: the one that fits best
    parent: Id | None = None  # the running call of the session that waits for this one
    deadline_s: Seconds | None = None  # when it should be done, from now


class ChangeCall(Request, frozen=True):
    """Renegotiate a running call's grant."""

    memory_bytes: SizeBytes | None = None
    cpu: CpuLevel | None = None
    pid: Pid | None = None  # one more process to place


class EndCall(Request, frozen=True):
    """End a call. What it left running lives on as `lingering`."""

    exit_status: ExitStatus | None = None
    cancelled: bool | UnsetType = UNSET
    """The caller itself ended the command: ^C, a time-out, a signal that it passed on."""


class HookEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client gives its hook, as it is. Of its fields only these are looked at, and none has
    to be there or to be of a certain type: a newer client is no mistake."""

    hook_event_name: Any = None
    event_type: Any = None
    session_id: Any = None
    tool_name: Any = None
    tool_input: Any = None
    tool_use_id: Any = None
    tool_response: Any = None
    error: Any = None
    is_interrupt: Any = None
    agent_id: Any = None
    tool_calls: Any = None

    def given(self) -> dict[str, Any]:
        """The fields that were there."""
        fields = structs.asdict(self)
        return {name: value for name, value in fields.items() if value is not None}


class PlaceShell(Request, frozen=True):
    """A shell asks for a place: in the call that its client has declared, or in a new one."""

    command: Command
    session: Name | None = None  # None: that of its cgroup
    call: Id | None = None  # into this one
    parent: bool = False  # not the process that asks is the shell, but its parent
    wait_s: WaitSeconds = 0.0


class ChangeHost(Request, frozen=True):
    """Bound what all sessions together may use (root and group agentcg only)."""

    memory_max_bytes: SizeBytes | None = None  # None: no bound


class HistoryQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which ended calls to list."""

    session: Name | None = None
    tool: Tool | None = None
    category: Category | None = None
    command: Command | None = None  # a part of it
    since: EpochSeconds | None = None  # ended at or after
    until: EpochSeconds | None = None  # ended before
    before: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)] | None = (
        None  # `next_before` of the page before
    )
    limit: Annotated[int, Meta(ge=1, le=HISTORY_LISTED_MAX)] = HISTORY_LISTED_MAX


class ForecastQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What to foresee: a call that runs, or one of a kind in a session."""

    call: Id | None = None
    session: Name | None = None
    tool: Tool | None = None
    command: Command | None = None
    category: Category | None = None
