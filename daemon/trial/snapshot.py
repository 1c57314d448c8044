# SPDX-License-Identifier: Apache-2.0
"""A host with its sessions and calls at one moment, as `agentcg status --json` prints it.

Only what decisions depend on is read; all but a few fields may be left out, so that a
snapshot can also be written by hand. Sizes are bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import replace

from agentcg.daemon.messages import (
    CallState,
    Category,
    Command,
    Labels,
    Name,
    Phase,
    Priority,
    Tool,
)
from agentcg.errors import InvalidInput

BYTES_MAX = 64 << 20
COUNT_MAX = 20_000

Size = Annotated[int, Meta(ge=0, le=1 << 50)]
Uid = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]


class _Part(Struct, frozen=True, kw_only=True):
    """Base of the parts: fields that are not named here are passed over."""


class PressureSeen(_Part, frozen=True):
    """Stall of all sessions: PSI, percent of the last 10 s."""

    memory_some_avg10: Annotated[float, Meta(ge=0, le=100)] | None = None


class HostSeen(_Part, frozen=True):
    """The machine."""

    memory_total_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 50)]
    memory_max_bytes: Size | None = None  # None: what the policy says
    memory_current_bytes: Size | None = None  # None: the sum over sessions
    swap_free_bytes: Size = 0
    pressure: PressureSeen = PressureSeen()


class SessionSeen(_Part, frozen=True):
    """A session. What it was given counts for nothing: the policy that is tried decides."""

    name: Name
    uid: Uid = 0
    user: str | None = None
    labels: Labels = field(default_factory=dict)
    asked_priority: Priority | None = None
    asked_weight: int | None = None
    container: str | None = None
    image: str | None = None
    from_cgroup: str | None = None
    from_unit: str | None = None
    phase: Phase = "calling"
    memory_current_bytes: Size | None = None  # its calls included; None: the sum over them


class GrantSeen(_Part, frozen=True):
    """Of a grant only what the call had declared."""

    source: str = ""
    memory_need_bytes: Size | None = None
    declared_bytes: Size | None = None


class AccountSeen(_Part, frozen=True):
    """Of an account only what the call holds."""

    memory_current_bytes: Size | None = None


class CallSeen(_Part, frozen=True):
    """A call. `memory_bytes`: what it declares, where no grant tells."""

    session: Name
    id: str = ""
    tool: Tool = "Bash"
    command: Command | None = None
    category: Category | None = None
    state: CallState = "running"
    begun_at: float = 0.0
    memory_bytes: Size | None = None
    grant: GrantSeen = GrantSeen()
    account: AccountSeen = AccountSeen()

    @property
    def declared_bytes(self) -> int | None:
        """The need that it declared; None where it declared none."""
        if self.memory_bytes is not None or self.grant.source != "declared":
            return self.memory_bytes
        return self.grant.declared_bytes or self.grant.memory_need_bytes


class Snapshot(_Part, frozen=True):
    """All of it."""

    host: HostSeen
    sessions: Annotated[list[SessionSeen], Meta(max_length=COUNT_MAX)] = field(default_factory=list)
    calls: Annotated[list[CallSeen], Meta(max_length=COUNT_MAX)] = field(default_factory=list)


def read(data: bytes) -> Snapshot:
    """The snapshot in `data` (JSON). Raises `InvalidInput`, which names the field."""
    if len(data) > BYTES_MAX:
        raise InvalidInput("snapshot", len(data), f"at most {BYTES_MAX >> 20} MiB")
    try:
        found = msgspec.json.decode(data, type=Snapshot)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "snapshot", "JSON", f"as agentcg status --json prints it: {error}"
        ) from error
    names = [session.name for session in found.sessions]
    if len(set(names)) != len(names):
        twice, _ = Counter(names).most_common(1)[0]
        raise InvalidInput("sessions", twice, "each name once")
    known = set(names)
    for number, call in enumerate(found.calls):
        if call.session not in known:
            raise InvalidInput(
                f"calls[{number}].session", call.session, "a session of the snapshot"
            )
    return found


def with_logins(snapshot: Snapshot, login_of: Callable[[int], str | None]) -> Snapshot:
    """`snapshot` with the login names that it does not tell, by user id."""
    sessions = [
        session if session.user is not None else replace(session, user=login_of(session.uid))
        for session in snapshot.sessions
    ]
    return replace(snapshot, sessions=sessions)
