# SPDX-License-Identifier: Apache-2.0
"""What the daemon sends: calls, sessions, intents, the host, events and problems."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from agentcg.daemon.messages.calls import (
    Account,
    Delayed,
    Feedback,
    Foreseen,
    Grant,
    Pressure,
    Scheduled,
)
from agentcg.daemon.messages.requests import SecondsQuantiles, SizeQuantiles
from agentcg.daemon.messages.words import (
    ActionKind,
    Answer,
    CallState,
    Category,
    CpuLevel,
    EndReason,
    EventKind,
    How,
    IntentKind,
    OfferState,
    Phase,
    Priority,
)


class Call(Answer, frozen=True):
    """One tool call."""

    id: str
    session: str
    tool: str
    command: str | None
    category: Category
    reference: str | None
    state: CallState
    found: How  # hook: declared, its process found; the rest: docs/clients.md
    begun_at: float
    ended_at: float | None
    end_reason: EndReason | None
    exit_status: int | None
    cgroup: str  # absolute path of the leaf
    grant: Grant
    account: Account
    processes_now: int
    feedback: list[Feedback] = field(default_factory=list)
    client: str | None = None  # by whose signature it was found
    shared: bool = False  # nothing tells it apart from what else ran in the same shell
    placed_after_us: int | None = None  # of a found one: from its exec until it was in its leaf
    held_peak_bytes: int | None = None  # the most that it held, page cache left out
    foreseen: Foreseen | None = None


class Offer(Answer, frozen=True):
    """What an intent is answered. `lapsed`: held for it in vain, and held no longer; that counts
    against the confidence in later ones."""

    state: OfferState
    reason: str
    memory_bytes: int | None = None  # grant: held for it; None: nothing
    held_until: float | None = None
    position: int | None = None  # wait: 1 is the next; None: other intents have to end first
    expected_at: float | None = None  # wait: when there may be room; None: not known
    fits_bytes: int | None = None  # wait, refused: what one call could have


class Intent(Answer, frozen=True):
    """A declaration, as kept, and the present answer to it."""

    id: str
    session: str
    kind: IntentKind
    declared_at: float
    expires_at: float
    tool: str | None = None
    command: str | None = None
    category: Category | None = None
    memory_bytes: int | None = None
    memory_quantiles: SizeQuantiles | None = None
    cpu: CpuLevel | None = None
    start_in_s: float | None = None  # from `declared_at`
    duration_s: float | None = None
    duration_quantiles: SecondsQuantiles | None = None
    deadline_s: float | None = None
    confidence: float | None = None
    parallelism: int | None = None
    after: list[str] | None = None
    parent: str | None = None
    taken: int = 0  # calls that followed it
    offer: Offer | None = None


class Calibration(Answer, frozen=True):
    """What a session's latest declarations were worth. Percent: taken of what was declared."""

    session: str
    used: int  # intents that memory was held for, and a call came
    unused: int  # ... and none came
    trust: float  # 0 to 1, by which the confidence in later ones is multiplied
    memory_percent: list[int]  # of the latest calls that declared, the oldest first
    duration_percent: list[int]
    correction: float  # by which a declared need is multiplied


class ToolServer(Answer, frozen=True):
    """A server of tools (MCP) that an agent keeps, in a leaf of its own."""

    name: str  # of the leaf: mcp-1
    command: str
    started_at: float
    cgroup: str
    processes: int
    memory_current_bytes: int | None


class MemoryWait(Answer, frozen=True):
    """The agent itself can have no more memory for now, and goes on when there is room."""

    since: float
    held_bytes: int  # by the agent, at the last look, page cache left out
    memory_high_bytes: int  # of its runtime leaf: where the kernel holds it up


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
    tenant: str | None = None  # that it counts for, beside its user
    memory_anon_bytes: int | None = None  # of all its processes: what a trace records
    asked_priority: Priority | None = None
    asked_weight: int | None = None
    from_cgroup: str | None = None  # where its processes lived when it was opened
    from_unit: str | None = None
    container: str | None = None  # name, or else id, of the container that this was in
    image: str | None = None
    servers: list[ToolServer] = field(default_factory=list)
    account: Account | None = None  # where one session is asked for
    memory_wait: MemoryWait | None = None
    scheduled: Scheduled | None = None  # of its account, in lists too
    delayed: Delayed | None = None


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
    calls_waiting: int = 0  # not begun yet: they wait for room
    account: Account | None = None  # of all sessions


class Control(Answer, frozen=True):
    """One thing agentcg can do, and whether this kernel lets it."""

    name: str  # "memory.high", "accounting", "freeze" ...
    state: Literal["enforced", "degraded", "absent", "off"]  # off: an extra that is not in use
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
    history: HistoryHealth | None = None  # None: none is kept
    policy_warnings: list[str] = field(default_factory=list)  # of the policy in force, the first


class HookOutput(Answer, frozen=True, rename="camel"):
    """What the model is told, and by which event."""

    hook_event_name: str
    additional_context: str


class HookAnswer(Answer, frozen=True, rename="camel", omit_defaults=True):
    """What a hook prints; never a decision. Codex takes no field that it does not know."""

    hook_specific_output: HookOutput | None = None
    additional_context: str | None = None  # for OpenHands


class HistoryList(Answer, frozen=True):
    """Ended calls, the latest first. `next_before`: for `before=` of the next page, None: the
    last one."""

    calls: list[Call]
    next_before: int | None


class HistoryHealth(Answer, frozen=True):
    """How the history on disk is."""

    path: str
    problem: str | None  # why it is not written now
    set_aside: str | None  # what was renamed when the daemon found it useless, and why
    lost: int  # calls that were not written, since the daemon started
    waiting: int  # calls that are not written yet


class PolicyFile(Answer, frozen=True):
    """One file of the policy in force, as it was read."""

    name: str
    text: str


class PolicyText(Answer, frozen=True):
    """The policy in force: its files in the order in which their rules are asked, the built-in
    default last. The files on disk may be newer."""

    source: str
    error: str | None  # why the files on disk are not in force
    warnings: list[str]
    files: list[PolicyFile]


class Event(Answer, frozen=True):
    """One thing that happened; `id` grows by one."""

    id: int
    time: float
    kind: EventKind
    session: str | None = None
    call: str | None = None
    text: str = ""
    feedback: Feedback | None = None
    intent: str | None = None
    foreseen: Foreseen | None = None  # call.begun: what it is expected to take


class Turn(Answer, frozen=True):
    """One turn of a task of a traced session on a CPU, or one time that it was held up, when it is
    over."""

    time: float
    call: str | None  # None: the agent's own
    pid: int  # of the thread
    comm: str
    cpu: int
    waited_us: int  # for the CPU
    ran_us: int
    delayed_us: int  # held up, for memory or cpu.max; 0: it is a turn
    boosted: bool
    lost: int = 0  # before this one, since nobody read them in time


class Action(Answer, frozen=True):
    """One thing that was decided about a call, or done under pressure, and the numbers that led to
    it: `wait`, `grant` and `lease` of a call, and the steps of the ladder."""

    time: float
    kind: ActionKind
    session: str
    call: str | None  # None: the agent's own processes, or the whole session
    reason: str
    rule: str
    size_bytes: int | None
    """grant, lease, throttle: memory.high; protect: memory.low; reclaim: how much."""
    room_bytes: int  # of what all sessions may use, when it was decided
    bound_bytes: int
    stall_percent: float | None  # memory PSI, some, avg10, of all sessions
    swap_free_bytes: int | None  # None: it did not matter
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
