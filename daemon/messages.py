# SPDX-License-Identifier: Apache-2.0
"""The words of the intent API: what crosses the socket, as types.

The OpenAPI document is generated from these types, the server validates requests with them
and the client decodes answers with them, so there is one place where a field is defined.

Units are in the names: `_bytes`, `_us` (microseconds), `_s` (seconds). Times of day are
seconds since the epoch, as a float. `None` means "not known, or this kernel has no such
thing", never zero. Requests refuse unknown fields; answers may grow new ones, which clients
ignore.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

# --- Bounds -------------------------------------------------------------------------------

BODY_MAX_BYTES = 64 * 1024
EVENTS_KEPT = 1024  # how far back Last-Event-ID can reach

# No dot, so that a name can never be that of a kernel file in the parent cgroup.
# (?!\n): in Python `$` alone would let a newline at the end pass.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}(?!\n)$"
ID_PATTERN = r"^[a-z0-9]{4,32}(?!\n)$"

Name = Annotated[str, Meta(pattern=NAME_PATTERN, description="letters, digits, _ and -")]
Label = Annotated[str, Meta(max_length=128)]
LabelKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}(?!\n)$")]
Labels = Annotated[dict[LabelKey, Label], Meta(max_length=16)]
Tool = Annotated[str, Meta(min_length=1, max_length=64)]
Command = Annotated[str, Meta(max_length=4096)]
Reference = Annotated[str, Meta(max_length=128, description="the caller's own id, kept as is")]
SizeBytes = Annotated[int, Meta(ge=1 << 20, le=1 << 50, description="1 MiB to 1 PiB")]
Seconds = Annotated[float, Meta(ge=0, le=86400)]
WaitSeconds = Annotated[float, Meta(ge=0, le=600)]
Pid = Annotated[int, Meta(ge=1, le=1 << 22)]
Weight = Annotated[int, Meta(ge=1, le=10000)]
Confidence = Annotated[float, Meta(ge=0, le=1)]
ExitStatus = Annotated[int, Meta(ge=0, le=255, description="as a shell sees it: 128+n = signal n")]

Priority = Literal["high", "normal", "low"]
CpuLevel = Literal["low", "normal", "high"]
Phase = Literal["thinking", "calling", "idle", "paused"]
Category = Literal[
    "test", "install", "build", "python", "git", "search", "edit", "lint", "fileop", "web", "other"
]
IntentKind = Literal["call", "generating", "idle", "release"]
CallState = Literal["running", "lingering", "ended"]
EndReason = Literal["declared", "emptied", "expired", "oom", "killed", "session-closed"]
ActionKind = Literal["protect", "reclaim", "throttle", "unthrottle", "freeze", "thaw", "kill"]
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
    "intent.declared",
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


# --- Requests -----------------------------------------------------------------------------


class OpenSession(Request, frozen=True):
    """Open a session, or find the one of this name (then nothing of it is changed)."""

    name: Name
    priority: Priority | None = None  # None: the policy decides
    weight: Weight | None = None
    labels: Labels = field(default_factory=dict)
    pids: Annotated[list[Pid], Meta(max_length=256)] = field(default_factory=list)
    """Processes of the agent; they are moved into the session's runtime leaf."""


class DeclareIntent(Request, frozen=True):
    """Say what will be needed. Advisory: it shapes the next grant, it reserves nothing."""

    kind: IntentKind
    tool: Tool | None = None
    command: Command | None = None
    category: Category | None = None
    memory_bytes: SizeBytes | None = None
    cpu: CpuLevel | None = None
    start_in_s: Seconds | None = None
    duration_s: Seconds | None = None
    deadline_s: Seconds | None = None
    confidence: Confidence | None = None


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


class ChangeCall(Request, frozen=True):
    """Renegotiate a running call's grant."""

    memory_bytes: SizeBytes | None = None
    cpu: CpuLevel | None = None
    pid: Pid | None = None  # one more process to place


class EndCall(Request, frozen=True):
    """End a call. What it left running lives on as `lingering`."""

    exit_status: ExitStatus | None = None


class ChangeHost(Request, frozen=True):
    """Bound what all sessions together may use (root and group agentcg only)."""

    memory_max_bytes: SizeBytes | None = None  # None: no bound


# --- Answers ------------------------------------------------------------------------------


class Pressure(Answer, frozen=True):
    """PSI: percent of the last 10 s in which some / all tasks waited (psi.rst)."""

    memory_some_avg10: float | None = None
    memory_full_avg10: float | None = None
    cpu_some_avg10: float | None = None
    io_some_avg10: float | None = None


class Grant(Answer, frozen=True):
    """What the daemon gives a call, and why."""

    memory_high_bytes: int | None  # None: no limit of its own
    memory_max_bytes: int | None
    cpu_weight: int
    pids_max: int | None
    source: Literal["declared", "intent", "policy", "default"]
    reason: str
    rule: str | None = None  # file:line of the policy rule
    waited_s: float = 0.0
    memory_need_bytes: int | None = None  # what admission counts with; None: not known


class Executed(Answer, frozen=True):
    """One program executed inside a call, as BPF saw it."""

    time_s: float
    pid: int
    argv: str  # bounded, secrets masked


class Account(Answer, frozen=True):
    """What a call used. Source of each field: docs/accounting.md."""

    wall_s: float
    cpu_user_us: int | None = None
    cpu_system_us: int | None = None
    memory_current_bytes: int | None = None
    memory_peak_bytes: int | None = None
    swap_peak_bytes: int | None = None
    page_faults_minor: int | None = None
    page_faults_major: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    io_read_operations: int | None = None
    io_write_operations: int | None = None
    processes: int | None = None  # processes started, BPF
    processes_peak: int | None = None  # pids.peak: tasks at once
    execs: int | None = None  # programs executed, BPF
    commands: list[Executed] = field(default_factory=list)  # the first of them
    memory_high_events: int | None = None
    memory_max_events: int | None = None
    throttled_us: int | None = None  # time under memory.high: memory.pressure full total
    cpu_throttled_us: int | None = None
    oom_kills: int | None = None
    oom_victim: str | None = None  # "python3[1234]", BPF
    first_exit_status: int | None = None  # of the first process placed, BPF


class Feedback(Answer, frozen=True):
    """What the agent is told: a stable code and one or two sentences with numbers."""

    code: Literal[
        "ok", "over-grant", "oom-call", "killed", "lingering", "signal", "waited", "no-room"
    ]
    text: str


class Call(Answer, frozen=True):
    """One tool call."""

    id: str
    session: str
    tool: str
    command: str | None
    category: Category
    reference: str | None
    state: CallState
    found: Literal["declared"]
    begun_at: float
    ended_at: float | None
    end_reason: EndReason | None
    exit_status: int | None
    cgroup: str  # absolute path of the leaf
    grant: Grant
    account: Account
    processes_now: int
    feedback: list[Feedback] = field(default_factory=list)


class Intent(Answer, frozen=True):
    """A declaration, as kept."""

    id: str
    session: str
    kind: IntentKind
    declared_at: float
    expires_at: float
    tool: str | None = None
    command: str | None = None
    category: Category | None = None
    memory_bytes: int | None = None
    cpu: CpuLevel | None = None
    start_in_s: float | None = None
    duration_s: float | None = None
    deadline_s: float | None = None
    confidence: float | None = None


class Session(Answer, frozen=True):
    """One agent: its priority, limits, use and phase."""

    id: str
    name: str
    uid: int
    priority: Priority
    weight: int
    labels: dict[str, str]
    phase: Phase
    phase_since: float
    opened_at: float
    cgroup: str
    runtime: str  # absolute path of the runtime leaf
    processes: int
    calls_running: int
    calls_lingering: int
    calls_total: int
    memory_current_bytes: int | None
    memory_peak_bytes: int | None
    memory_max_bytes: int | None
    memory_high_bytes: int | None
    memory_low_bytes: int | None
    swap_current_bytes: int | None
    cpu_usage_us: int | None
    cpu_weight: int | None
    pids_max: int | None
    oom_kills: int | None
    pressure: Pressure
    rule: str | None  # file:line of the policy rule that set the limits


class Host(Answer, frozen=True):
    """The machine and what agents may have of it."""

    hostname: str
    kernel: str
    cpus: int
    memory_total_bytes: int
    memory_available_bytes: int
    memory_max_bytes: int | None  # bound over all sessions
    memory_current_bytes: int | None  # all sessions together
    swap_total_bytes: int
    swap_free_bytes: int
    pressure: Pressure
    cgroup: str  # root of the sessions, absolute
    sessions: int
    calls_running: int
    calls_lingering: int
    calls_total: int


class Control(Answer, frozen=True):
    """One thing agentcg can do, and whether this kernel lets it."""

    name: str  # "memory.high", "accounting", "freeze" ...
    state: Literal["enforced", "degraded", "absent"]
    backend: str  # "cgroup file", "bcc raw tracepoint" ...
    detail: str  # plain words; what would be needed where it is not enforced


class Health(Answer, frozen=True):
    """How the daemon itself is."""

    state: Literal["ok", "degraded", "starting"]
    version: str
    pid: int
    started_at: float
    uptime_s: float
    policy: str  # where the policy in force comes from
    policy_error: str | None  # why a newer one was not taken
    accounting: Literal["bpf", "cgroup", "starting"]
    events_lost: int
    controls: list[Control]


class Event(Answer, frozen=True):
    """One thing that happened; `id` grows by one."""

    id: int
    time: float
    kind: EventKind
    session: str | None = None
    call: str | None = None
    text: str = ""
    feedback: Feedback | None = None


class Action(Answer, frozen=True):
    """One step that the daemon took under pressure, and the numbers that led to it."""

    time: float
    kind: ActionKind
    session: str
    call: str | None  # None: the agent's own processes, or the whole session
    reason: str
    rule: str
    size_bytes: int | None  # protect: memory.low; reclaim: how much; throttle: memory.high
    room_bytes: int  # of what all sessions may use, when it was decided
    bound_bytes: int
    stall_percent: float | None  # memory PSI, some, avg10, of all sessions
    swap_free_bytes: int
    held_bytes: int | None  # by the target
    granted_bytes: int | None


class Problem(Answer, frozen=True):
    """RFC 9457 problem document."""

    type: str  # "urn:agentcg:" + code
    title: str
    status: int
    detail: str
    field: str | None = None
    value: str | None = None
    rule: str | None = None
    remedy: str | None = None


class SessionList(Answer, frozen=True):
    """Sessions, in the order in which they were opened."""

    sessions: list[Session]


class CallList(Answer, frozen=True):
    """Calls, in the order in which they began."""

    calls: list[Call]


class IntentList(Answer, frozen=True):
    """Intents, in the order in which they were declared."""

    intents: list[Intent]


class ActionList(Answer, frozen=True):
    """Actions, in the order in which they were taken; the oldest beyond a bound are dropped."""

    actions: list[Action]
