# SPDX-License-Identifier: Apache-2.0
"""What is said of one call: its grant, its account, what is foreseen, and the feedback on it."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from agentcg.daemon.messages.words import Answer, Category


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
    source: Literal["declared", "intent", "history", "policy", "default"]
    reason: str
    rule: str | None = None  # file:line of the policy rule
    waited_s: float = 0.0
    memory_need_bytes: int | None = None  # what admission counts with; None: not known
    declared_bytes: int | None = None  # the need that was declared, before it was corrected
    declared_s: float | None = None  # the duration that was declared


class Executed(Answer, frozen=True):
    """One program executed inside a call, as BPF saw it."""

    time_s: float
    pid: int
    argv: str  # bounded, secrets masked


class Scheduled(Answer, frozen=True):
    """What agentcg's CPU scheduler did for a call or session."""

    run_us: int
    wait_us: int  # ready to run, and waiting for a CPU; not those of `Delayed`
    waits: int
    longest_wait_us: int
    boosts: int  # times that it went ahead of its turn


class Delayed(Answer, frozen=True):
    """How often tasks of a call or session were held up for memory over its lease."""

    count: int
    total_us: int  # over all tasks
    longest_us: int
    overshoot_bytes: int  # the most over the lease when who charged was held up


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
    run_queue_us: int | None = None  # tasks that ended: ready to run, and waiting for a CPU; BPF
    refault_bytes: int | None = None  # read again after it was reclaimed
    reclaimed_bytes: int | None = None
    swap_in_bytes: int | None = None
    swap_out_bytes: int | None = None
    memory_some_us: int | None = None  # PSI: a task waited for memory; full is throttled_us
    cpu_some_us: int | None = None
    io_some_us: int | None = None
    io_full_us: int | None = None
    frozen_us: int | None = None
    network_sent_bytes: int | None = None  # IPv4 and IPv6, without headers; BPF
    network_received_bytes: int | None = None
    connections: int | None = None  # TCP, begun by the call; BPF
    scheduled: Scheduled | None = None  # None: agentcg's scheduler was not in charge
    delayed: Delayed | None = None  # None: nothing delays here


class Point(Answer, frozen=True):
    """One point of a curve."""

    t_s: float  # since the call began
    memory_bytes: int | None
    cpu_s: float  # used so far, by samples


class Curve(Answer, frozen=True):
    """How the use of a call went, by samples in the kernel (docs/accounting.md)."""

    call: str
    begun_at: float
    gap_s: float | None  # points are at least so far apart; None: there are none
    points: list[Point]


class Feedback(Answer, frozen=True, omit_defaults=True):
    """What the agent is told: a stable code, one or two sentences with numbers and a way on, and
    the same numbers as fields; one that says nothing here is left out."""

    code: Literal[
        "ok",
        "over-grant",
        "oom-call",
        "killed",
        "held-back",
        "retry-loop",
        "lingering",
        "signal",
        "waited",
        "no-room",
    ]
    text: str
    by: Literal["agentcg", "kernel", "call", "caller", "session", "unknown"] | None = None
    """Who ended the call: `kernel`: for memory; `call`: its own fault; `session`: its closing."""
    signal: int | None = None
    attempts: int | None = None  # calls of this kind in a row that went the same way
    wall_s: float | None = None
    waited_s: float | None = None  # for room, before it began
    throttled_s: float | None = None  # at its memory.high
    slowed_s: float | None = None  # by the ladder, below its grant
    frozen_s: float | None = None
    delayed_s: float | None = None  # of its tasks where they allocated, in all
    peak_bytes: int | None = None
    need_bytes: int | None = None  # that there was, or was not, room for
    granted_bytes: int | None = None
    limit_bytes: int | None = None  # the limit that was met, or the most that can be had
    limit_of: Literal["call", "lease", "session", "user", "tenant", "host"] | None = None
    declare_bytes: int | None = None  # the need that is proposed
    room_bytes: int | None = None  # free now, for a next call
    held_bytes: int | None = None  # by what is left running
    processes: int | None = None  # left running


class Quantiles(Answer, frozen=True):
    """Below p50 in half of the cases, below p90 in 90%, below p99 in 99%."""

    p50: float
    p90: float
    p99: float


class Foreseen(Answer, frozen=True):
    """What a call was expected to take when it began."""

    duration_s: Quantiles
    peak_bytes: Quantiles  # most held, page cache left out
    own_calls: int  # earlier calls of the session's kind that it rests on
    other_calls: int  # and of other sessions, by client and category


class Forecast(Answer, frozen=True):
    """How long a call will still take and how much it will hold at most, from what is known now."""

    session: str
    call: str | None  # None: one that has not begun
    tool: str
    category: Category
    elapsed_s: float
    held_bytes: int | None  # the most that it has held so far; None: not begun, or not known
    remaining_s: Quantiles
    peak_bytes: Quantiles  # of the whole call
    own_calls: int
    other_calls: int
