# SPDX-License-Identifier: Apache-2.0
"""The one exception tree.

Everything that agentcg raises on purpose is an `AgentcgError`. Errors of the operating
system and of libbpf are translated where they happen, with the path and a way on, so that
no caller has to know which system call failed. `code` is stable and machine-readable: it is
the last part of a problem document's `type` and never changes for a given meaning.
"""

from __future__ import annotations

import errno as _errno
import os

TYPE_CHECKING = False  # as a type checker has it: importing typing takes a tool call's time
if TYPE_CHECKING:
    from typing import ClassVar


class AgentcgError(Exception):
    """Base of all errors: what happened, and (where there is one) what to do about it."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class InvalidInput(AgentcgError):
    """A value from outside breaks a rule; nothing was changed."""

    code = "invalid-input"

    def __init__(self, field: str, value: object, rule: str, *, remedy: str = "") -> None:
        self.field = field
        self.value = clip(value)
        self.rule = rule
        super().__init__(f"{field}: {self.value} is not valid: {rule}", remedy=remedy)


class NotFound(AgentcgError):
    """No such session, call or intent (or none that this peer may see)."""

    code = "not-found"


class Conflict(AgentcgError):
    """The request contradicts the present state: already ended, name taken, not empty."""

    code = "conflict"


class Forbidden(AgentcgError):
    """The peer's credentials do not allow this."""

    code = "forbidden"


class LimitExceeded(AgentcgError):
    """A quota or a bound of the daemon is reached; the caller may try again later."""

    code = "limit-exceeded"


class Unavailable(AgentcgError):
    """The daemon (or a part of it) does not answer."""

    code = "unavailable"


class CgroupError(AgentcgError):
    """The kernel refused an operation on a cgroup.

    `path` is the cgroup, `knob` the file in it ("" for the directory itself), `value` what
    was to be written, `errno` the kernel's reason.
    """

    code = "cgroup"

    def __init__(
        self, path: str, knob: str, value: object, errno: int | None, *, remedy: str = ""
    ) -> None:
        self.path = path
        self.knob = knob
        self.value = value
        self.errno = errno
        where = f"{path}/{knob}" if knob else path
        reason = "refused" if errno is None else f"{os.strerror(errno)} ({errno_name(errno)})"
        what = "" if value is None else f" <- {clip(value)}"
        super().__init__(f"{where}{what}: {reason}", remedy=remedy)


class CgroupGone(CgroupError):
    """The cgroup was removed while it was in use."""

    code = "cgroup-gone"


class ControllerMissing(CgroupError):
    """A controller is not enabled where it is needed."""

    code = "controller-missing"


class SpawnError(AgentcgError):
    """A program could not be started: `stage` is the step that failed, `errno` its reason
    (`None`: it took too long)."""

    code = "spawn"

    def __init__(self, program: str, stage: str, errno: int | None) -> None:
        self.program = program
        self.stage = stage
        self.errno = errno
        reason = "timed out" if errno is None else f"{os.strerror(errno)} ({errno_name(errno)})"
        super().__init__(f"cannot start {clip(program)}: {stage}: {reason}")


class BpfError(AgentcgError):
    """A BPF program could not be compiled, loaded or attached."""

    code = "bpf"


class PolicyError(AgentcgError):
    """A policy does not hold; the message lists file:line:column of every mistake."""

    code = "policy"


class TraceError(AgentcgError):
    """A recorded trace cannot be read."""

    code = "trace"


class HistoryError(AgentcgError):
    """The history cannot be written or read. `set_aside`: where its database is of no use to this
    daemon, why, in a word for its new name; "" where trying again later may help."""

    code = "history"

    def __init__(self, message: str, *, remedy: str = "", set_aside: str = "") -> None:
        self.set_aside = set_aside
        super().__init__(message, remedy=remedy)


class StartupError(AgentcgError):
    """The daemon cannot start on this host as asked."""

    code = "startup"


def clip(value: object, limit: int = 80) -> str:
    """`value` as a short printable string: no control characters, bounded length."""
    text = value if isinstance(value, str) else repr(value)
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[: limit + 1])
    shown = shown if len(shown) <= limit else shown[: limit - 3] + "..."
    return f"'{shown}'" if isinstance(value, str) else shown


def errno_name(number: int) -> str:
    """The kernel's name of an error number ("EBUSY"), or the number itself."""
    return _errno.errorcode.get(number, str(number))
