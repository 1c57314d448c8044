# SPDX-License-Identifier: Apache-2.0
"""What the engine sees and what it answers, as plain frozen data.

Structs, because some are made for each request: a frozen dataclass takes ten times as long. A view
is taken at one moment; None means "not known" for a measured value and "no limit" for
a limit. Memory is in bytes, times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from msgspec import Struct

from agentcg.daemon.engine.history import EMPTY, History
from agentcg.daemon.engine.occupancy import Ahead, Occupant
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


class CallView(Struct, frozen=True):
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


class Owner(NamedTuple):
    """Whose a session is: a user (its uid) or a tenant (its name)."""

    of: Literal["user", "tenant"]
    key: int | str


class Cap(Struct, frozen=True):
    """What all sessions of one user or tenant may have together, and what they have of it."""

    owner: Owner
    name: str  # for people: "user alice"
    memory_max_bytes: int | None = None
    max_calls: int | None = None
    committed_bytes: int = 0
    calls_running: int = 0
    rule: str | None = None  # file:line

    @property
    def room_bytes(self) -> int | None:
        """What a further call could have; negative where more is promised than there is."""
        if self.memory_max_bytes is None:
            return None
        return self.memory_max_bytes - self.committed_bytes


class SessionView(Struct, frozen=True):
    """A session with its calls; `memory_max_bytes` is its own limit."""

    name: str
    priority: Priority
    memory_max_bytes: int | None = None
    max_calls: int | None = None
    runtime_held_bytes: int = 0  # by the agent's own processes
    calls: tuple[CallView, ...] = ()
    history: History = EMPTY  # of its ended calls
    caps: tuple[Cap, ...] = ()  # of its user and its tenant

    @property
    def committed_bytes(self) -> int:
        """The agent's own processes and all of its calls."""
        return self.runtime_held_bytes + sum(call.committed_bytes for call in self.calls)

    @property
    def running(self) -> int:
        """How many of its calls run."""
        return sum(1 for call in self.calls if call.state == "running")


class HostView(Struct, frozen=True):
    """The machine and what all sessions have of it together.

    `committed_bytes` is `committed_bytes(sessions)`: given as a number, so that a decision
    about one call does not cost a walk over all of them.
    """

    memory_total_bytes: int
    memory_max_bytes: int | None = None  # bound over all sessions
    reserve_bytes: int = 0  # room that admission leaves free inside the bound
    committed_bytes: int = 0
    calls_running: int = 0
    ahead: Ahead | None = None  # what running calls will hold; None: their needs count
    needs_bytes: int = 0  # what of `committed_bytes` the needs of those calls are

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


class CallRequest(Struct, frozen=True):
    """A call that wants to begin (or, when renegotiating, what it wants now)."""

    tool: str
    command: str | None = None
    category: Category | None = None  # None: worked out from tool and command
    memory_bytes: int | None = None  # declared need
    cpu: CpuLevel | None = None
    intent: str | None = None  # id of the intent that it says to follow
    parents: tuple[str, ...] = ()  # ids of the running calls that wait for it
    expected: Occupant | None = None  # what it will take; None: not known
    wait_s: float = 0.0  # how long its caller lets it wait in all
    waited_s: float = 0.0  # how long it has waited


class Admit(Struct, frozen=True):
    """Go ahead with this grant. `intent`: id of the intent that it follows."""

    grant: Grant
    feedback: tuple[Feedback, ...] = ()
    intent: str | None = None
    held_up: str | None = None  # why it had to wait


class Wait(Struct, frozen=True):
    """Not now: ask again when room has changed, and after `wait_s` in any case."""

    reason: str
    need_bytes: int
    room_bytes: int
    wait_s: float
    expected_in_s: float | None = None  # when there may be room; None: not known
    of_host: bool = False  # the host has no room; else its session or its user has none
    holds_bytes: int = 0  # what of the host counts as taken for those behind it


class Refuse(Struct, frozen=True):
    """Not at all: the session, its user or its tenant has as much as it may have."""

    reason: str
    remedy: str = ""
    rule: str | None = None  # file:line


Decision = Admit | Wait | Refuse


class Leaving(Struct, frozen=True):
    """What calls of one kind in one session have left running."""

    calls: int = 0
    held_bytes: int = 0


class Ending(Struct, frozen=True):
    """How a call ended, beside what its account says."""

    reason: EndReason
    exit_status: int | None = None  # as a shell sees it: 128+n = signal n
    cancelled: bool = False  # by its caller
    lingering_processes: int = 0
    room_bytes: int | None = None  # what a next call could have now
    limit_bytes: int | None = None  # the most that its session may have
    limit_of: Literal["session", "user", "tenant", "host"] = "host"  # whose limit that is
    lease_bytes: int | None = None  # what it could grow to at the moment
    killed: Feedback | None = None  # what to tell where the ladder killed it
    slowed_s: float = 0.0  # by the ladder
    frozen_s: float = 0.0
    category: Category = "other"
    failed: tuple[int, ...] = ()
    """What this call and those of its kind right before it held when they ran out of memory."""
    leaving: Leaving = Leaving()
