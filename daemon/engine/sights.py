# SPDX-License-Identifier: Apache-2.0
"""What the classifier sees of processes, and what it decides about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from agentcg.policies.signatures import Role

How = Literal["environment", "signature", "generic"]


class Key(NamedTuple):
    """A process, unmistakably until the next boot: `start_ticks` as in /proc/PID/stat."""

    pid: int
    start_ticks: int


class Seen(Protocol):
    """One process of a session at one moment: it was born, ran a program, or is gone."""

    @property
    def kind(self) -> Literal["born", "ran", "gone"]: ...  # noqa: D102
    @property
    def time_ns(self) -> int: ...  # noqa: D102
    @property
    def pid(self) -> int: ...  # noqa: D102
    @property
    def start_ticks(self) -> int: ...  # noqa: D102
    @property
    def parent(self) -> int: ...  # noqa: D102
    @property
    def parent_start_ticks(self) -> int: ...  # noqa: D102
    @property
    def pgid(self) -> int: ...  # noqa: D102
    @property
    def sid(self) -> int: ...  # noqa: D102
    @property
    def comm(self) -> str: ...  # noqa: D102
    @property
    def argv(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def environment(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def status(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Began:
    """A call begins with this process, or a server of tools starts (`role` mcp)."""

    call: Key
    """The process with which it began; names the call from now on."""
    role: Role
    client: str
    tool: str
    command: str
    found: How
    time_ns: int
    reference: str | None = None
    shared: bool = False
    """Whether parts of another call may be in it, because nothing tells them apart."""
    ends_with_leader: bool = True
    """Whether it is over when its first process is; else when nothing of it is left."""


@dataclass(frozen=True, slots=True)
class Joins:
    """This process belongs to that call, and is not in its leaf."""

    process: Key
    call: Key


@dataclass(frozen=True, slots=True)
class Over:
    """The call is over: its first process ended, or another call follows in the same shell."""

    call: Key
    status: int | None
    time_ns: int


Decision = Began | Joins | Over
