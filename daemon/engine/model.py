# SPDX-License-Identifier: Apache-2.0
"""What the engine sees and what it answers, as plain frozen data.

A view is taken at one moment; None means "not known" for a measured value and "no limit" for
a limit. Memory is in bytes, times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agentcg.daemon.messages import (
    CallState,
    Category,
    CpuLevel,
    EndReason,
    Feedback,
    Grant,
    Intent,
    Priority,
)

IntentView = Intent
"""Intents are kept as they are declared, so the engine reads them in the API's words."""


@dataclass(frozen=True, slots=True)
class CallView:
    """A call that has a cgroup.

    `held_bytes` is what it holds: anonymous and shared memory and the kernel's own for it.
    Page cache (the rest of memory.current) is given back when others need room.
    """

    id: str
    category: Category
    state: CallState
    begun_at: float
    grant: Grant
    held_bytes: int | None = None

    @property
    def committed_bytes(self) -> int:
        """What is to be kept for it: its need or, where it holds more, what it holds.

        A lingering call gets nothing any more; it only holds what it has not given back.
        """
        held = self.held_bytes or 0
        if self.state != "running":
            return held
        return max(held, self.grant.memory_need_bytes or 0)


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session with its calls; `memory_max_bytes` is its own limit."""

    name: str
    priority: Priority
    memory_max_bytes: int | None = None
    max_calls: int | None = None
    runtime_held_bytes: int = 0  # by the agent's own processes
    calls: tuple[CallView, ...] = ()

    @property
    def committed_bytes(self) -> int:
        """The agent's own processes and all of its calls."""
        return self.runtime_held_bytes + sum(call.committed_bytes for call in self.calls)

    @property
    def running(self) -> int:
        """How many of its calls run."""
        return sum(1 for call in self.calls if call.state == "running")


@dataclass(frozen=True, slots=True)
class HostView:
    """The machine and what all sessions have of it together.

    `committed_bytes` is `committed_bytes(sessions)`: given as a number, so that a decision
    about one call does not cost a walk over all of them.
    """

    memory_total_bytes: int
    memory_max_bytes: int | None = None  # bound over all sessions
    reserve_bytes: int = 0  # room that admission leaves free inside the bound
    committed_bytes: int = 0
    calls_running: int = 0

    @property
    def bound_bytes(self) -> int:
        """What all sessions together may use."""
        if self.memory_max_bytes is None:
            return self.memory_total_bytes
        return min(self.memory_max_bytes, self.memory_total_bytes)

    @property
    def room_bytes(self) -> int:
        """What is left for further calls; negative where more is promised than there is."""
        return self.bound_bytes - self.reserve_bytes - self.committed_bytes


def committed_bytes(sessions: Iterable[SessionView]) -> int:
    """What all sessions hold or are promised; linear in the number of calls."""
    return sum(session.committed_bytes for session in sessions)


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A call that wants to begin (or, when renegotiating, what it wants now)."""

    tool: str
    command: str | None = None
    category: Category | None = None  # None: worked out from tool and command
    memory_bytes: int | None = None  # declared need
    cpu: CpuLevel | None = None
    wait_s: float = 0.0  # how long its caller lets it wait in all
    waited_s: float = 0.0  # how long it has waited


@dataclass(frozen=True, slots=True)
class Admit:
    """Go ahead with this grant. `intent`: id of the intent that it follows."""

    grant: Grant
    feedback: tuple[Feedback, ...] = ()
    intent: str | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: ask again when room has changed, and after `wait_s` in any case."""

    reason: str
    need_bytes: int
    room_bytes: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not at all: the session has as many calls as it may have."""

    reason: str


Decision = Admit | Wait | Refuse


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended, beside what its account says."""

    reason: EndReason
    exit_status: int | None = None  # as a shell sees it: 128+n = signal n
    lingering_processes: int = 0
    room_bytes: int | None = None  # what a next call could have now
    limit_bytes: int | None = None  # the most that its session may have
    killed: Feedback | None = None  # what to tell where the ladder killed it
