# SPDX-License-Identifier: Apache-2.0
"""Who asks, what that peer may do, and whether a process may be placed for it."""

from __future__ import annotations

import os
import pwd
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from agentcg.errors import AgentcgError, Forbidden, InvalidInput


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as the kernel names it.

    `admin`: root, or member of group agentcg. `locate` tells the absolute path of the cgroup
    that the peer is in now, None if it is gone.
    """

    uid: int
    pid: int
    admin: bool
    locate: Callable[[], str | None]


def is_below(path: str | None, cgroup: str) -> bool:
    """Whether `path` is `cgroup` or a cgroup in it."""
    return path is not None and (path == cgroup or path.startswith(cgroup + "/"))


def may_act(peer: Peer, owner: int, cgroup: str) -> bool:
    """Whether `peer` may act on the session of `owner` at `cgroup`."""
    return peer.admin or peer.uid == owner or is_below(peer.locate(), cgroup)


def require_admin(peer: Peer, what: str) -> None:
    """Raise `Forbidden` unless the peer is root or in group agentcg."""
    if not peer.admin:
        raise Forbidden(
            f"uid {peer.uid} may not {what}", remedy="it takes root or a member of group agentcg"
        )


@contextmanager
def held_processes(peer: Peer, pids: Sequence[int]) -> Iterator[list[int]]:
    """Descriptors of processes that `peer` may place, so that their pids stay theirs.

    Raises `InvalidInput` for a pid that is not there and `Forbidden` for another user's.
    """
    with ExitStack() as stack:
        held = []
        for pid in pids:
            descriptor = _open(pid)
            stack.callback(os.close, descriptor)
            _check_owner(peer, pid, descriptor)
            held.append(descriptor)
        yield held


def _open(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise _gone(pid) from None
    except OSError as error:  # EINVAL: a thread's id before Linux 6.9
        raise InvalidInput("pid", pid, f"a process id ({error.strerror})") from error


def _check_owner(peer: Peer, pid: int, descriptor: int) -> None:
    uid = real_uid(pid)
    # Only while the process lives is what we read about its pid about it.
    if uid is None or has_exited(descriptor):
        raise _gone(pid)
    if peer.uid not in (0, uid):
        raise Forbidden(
            f"pid {pid} is a process of uid {uid}, not of uid {peer.uid}",
            remedy="place only your own processes",
        )
    if pid in (1, os.getpid()):  # what kills the session would take the host or the daemon along
        raise InvalidInput("pid", pid, "a process other than init and the daemon itself")


def _gone(pid: int) -> AgentcgError:
    return InvalidInput("pid", pid, "a process that is alive, in the daemon's pid namespace")


def has_exited(pidfd: int) -> bool:
    """Whether the process of a descriptor has exited (a zombie has)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def real_uid(pid: int) -> int | None:
    """The real uid of a process; None if there is no such process."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(status.split(b"\nUid:", 1)[1].split(None, 1)[0])


def cgroup_of(pid: int, mount: str) -> str | None:
    """Absolute path of the cgroup v2 of a process below `mount`; None if it is gone."""
    try:
        # Names of cgroups are bytes, and users make some: none may be an error of ours.
        text = Path(f"/proc/{pid}/cgroup").read_text("utf-8", "backslashreplace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    lines = text.split("\n")  # not at what else counts as a line break in Unicode
    below = next((line[3:] for line in lines if line.startswith("0::")), None)
    return None if below is None else (mount + below).rstrip("/")


@lru_cache(maxsize=256)
def user_name(uid: int) -> str | None:
    """Name of a user, for policy rules."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
