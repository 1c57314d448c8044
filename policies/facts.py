# SPDX-License-Identifier: Apache-2.0
"""What rules can ask about, and what they answer, as plain frozen data.

Memory is in bytes; None stands for "no limit" in a limit and for "not known" in a fact.
`rules` names the place (file:line) of every setting that a rule decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agentcg.policies.values import Memory

Priority = Literal["high", "normal", "low"]
Source = Literal["policy", "default"]
Step = Literal["throttle", "freeze", "kill"]


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What rules can ask about a session. `memory_bytes`: what percentages are of.

    `container`, `image`, `cgroup` and `unit` tell where its processes lived when it was
    opened; `container` has the names by which the container is known (name, id).
    """

    name: str
    uid: int
    memory_bytes: int  # what all sessions together may use
    user: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    asked_priority: Priority | None = None
    asked_weight: int | None = None  # has it where no rule says otherwise
    container: tuple[str, ...] = ()
    image: str | None = None
    cgroup: str | None = None  # below the mount of cgroup v2, with a leading /
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What rules can ask about a call. `memory_bytes`: what percentages are of."""

    tool: str
    command: str | None
    category: str
    priority: Priority  # of its session
    memory_bytes: int  # the session's memory_max, or what all sessions may use


@dataclass(frozen=True, slots=True)
class HostRule:
    """Bounds over all sessions; `memory_max` in bytes, None = no bound."""

    memory_max: int | None
    memory_reserve: Memory
    rules: Mapping[str, str]

    def reserve_bytes(self, bound_bytes: int) -> int:
        """Room that admission leaves free where all sessions may use `bound_bytes`.

        The bound in force may be smaller than `memory_max`: it can be lowered at run time.
        """
        return min(self.memory_reserve.of(bound_bytes) or 0, bound_bytes)


@dataclass(frozen=True, slots=True)
class AdmissionRule:
    """Which calls may be made to wait, and how long at most (seconds)."""

    wait: frozenset[str]
    wait_max_s: float
    reserve_max_s: float  # how long memory is held for an intent
    by: Literal["future", "peaks"]  # what running calls will hold, or what they may need
    risk: float  # that what was let in by `future` holds more than there is, 0 to 0.5
    overtake_max_s: float  # how long smaller calls may go before one that waits
    rules: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class IdleRule:
    """From whom memory is asked back while it waits for its model or does nothing."""

    reclaim: frozenset[str]  # priorities; empty: from nobody
    after_s: float  # without a call, and without having said that it waits
    ahead_s: float  # before an announced call it has its memory back
    rules: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LadderRule:
    """What is done under pressure, and when. `enter` and `leave`: room as a share of what all
    sessions may use, below which reclaim, throttle, freeze and kill begin, and from which on
    they end; `stall_*` are percent of time (PSI)."""

    enabled: bool
    enter: tuple[float, float, float, float]
    leave: tuple[float, float, float, float]
    stall_enter_percent: float
    stall_leave_percent: float
    throttle_stuck_s: float
    throttle_max_s: float
    freeze_max_s: float
    hold_s: float
    settle_s: float
    rules: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CapRule:
    """What all sessions of one user or of one tenant may have together."""

    weight: int  # share among users or tenants (100 = one share)
    memory_max: int | None
    pids_max: int | None
    max_calls: int | None
    rules: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SessionRule:
    """What a session gets. Memory in bytes, None = no limit."""

    priority: Priority
    weight: int
    memory_max: int | None
    memory_high: int | None
    memory_low: int
    runtime_memory_low: int
    cpu_weight: int
    cpu_max: float | None  # CPUs
    io_weight: int
    pids_max: int | None
    max_calls: int | None
    steps: frozenset[str]  # of the ladder that its calls may meet, `Step`
    tenant: str | None
    adopt: bool  # whether an agent that nobody opened a session for gets one
    rule: str | None  # file:line of the rule that decided the limits
    rules: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CallRule:
    """What a call gets. Memory in bytes, None = no limit (`memory`: not known)."""

    memory: int | None
    memory_margin: float
    memory_high: int | None
    memory_max: int | None
    cpu_weight: int
    pids_max: int | None
    linger_max_s: float | None  # how long what it leaves running may go on
    source: Source  # whether memory and memory_high come from a site's rule
    rule: str | None  # file:line of the rule that decided memory_high
    rules: Mapping[str, str]
