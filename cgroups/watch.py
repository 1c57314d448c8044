# SPDX-License-Identifier: Apache-2.0
"""One epoll for everything that cgroups notify: `cgroup.events`, `memory.events`, PSI triggers.

    watcher = Watcher()
    watcher.watch(leaf, "call-1")                                  # populated or frozen changed
    watcher.trigger(session, "memory", "some", 150_000, 1_000_000, "s1")
    loop.add_reader(watcher.fileno(), lambda: handle(watcher.poll()))

Limits: one descriptor per watch. The kernel reports a file of one cgroup at most every 10 ms,
the last change always, and a trigger at most once per window. Another trigger on the
same file (systemd sets some) can cause a report too: read `pressure()` before acting on one.
"""

from __future__ import annotations

import os
import select
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from agentcg.cgroups.cgroup import Cgroup, Resource
from agentcg.cgroups.refusal import translate
from agentcg.closing import Closing
from agentcg.errors import CgroupError, InvalidInput

Token = TypeVar("Token", bound=Hashable)
Kind = Literal["some", "full"]

WINDOW_US = (500_000, 10_000_000)
"""Bounds of a PSI window (kernel/sched/psi.c)."""

_BATCH = 256  # events taken per poll: the rest come with the next one
_PROC = Path("/proc")


# A trigger forgets that it fired (EPOLLPRI) as soon as anybody polls it, and an event loop
# polls the epoll before it calls us. What stays is the wake-up: pressure files are always
# "readable", so edge-triggered EPOLLIN reports each wake-up, once.
_TRIGGER_EVENTS = select.EPOLLIN | select.EPOLLPRI | select.EPOLLET
_ONCE_EVENTS = select.EPOLLPRI | select.EPOLLONESHOT


@dataclass(slots=True)
class _Source(Generic[Token]):
    token: Token
    is_trigger: bool
    is_once: bool
    is_new: bool  # a trigger's registration itself counts as an edge: not to be reported


class Watcher(Closing, Generic[Token]):
    """Tells by token which cgroups changed. Not for use by several threads at once."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._sources: dict[int, _Source[Token]] = {}
        self._fds: dict[Token, list[int]] = {}

    def fileno(self) -> int:
        """Readable while there is something to `poll`."""
        return self._epoll.fileno()

    def watch(self, cgroup: Cgroup, token: Token) -> None:
        """Report `token` whenever `cgroup.events` of `cgroup` changes, and once it is removed
        after a change. What holds already is not reported: read `events()` after this."""
        fd = cgroup.open_file("cgroup.events", os.O_RDONLY)
        os.pread(fd, 256, 0)  # the kernel reports changes since the last read
        self._add(fd, token)

    def watch_memory(self, cgroup: Cgroup, token: Token) -> None:
        """Report `token` when `memory.events` of `cgroup` or below changes: once, then again
        after `rearm`. A cgroup that is held up at its `memory.high` would report without end.
        One that is watched already is only armed again."""
        if any(self._sources[fd].is_once for fd in self._fds.get(token, ())):
            self.rearm(token)
            return
        fd = cgroup.open_file("memory.events", os.O_RDONLY)
        os.pread(fd, 512, 0)
        self._add(fd, token, is_once=True)

    def rearm(self, token: Token) -> None:
        """Report the next change of `memory.events` under `token`; what came before is over."""
        for fd in self._fds.get(token, ()):
            if self._sources[fd].is_once:
                with suppress(OSError):  # removed meanwhile: whoever watches it will hear of that
                    os.pread(fd, 512, 0)
                self._epoll.modify(fd, _ONCE_EVENTS)

    def trigger(  # noqa: PLR0917 - the order of psi.rst: what, how much, in which time
        self, cgroup: Cgroup | None, resource: Resource, kind: Kind,
        stall_us: int, window_us: int, token: Token,
    ) -> None:  # fmt: skip
        """Report `token` when tasks of `cgroup` (`None`: of the host) waited for `resource`
        for more than `stall_us` within `window_us` (0.5 to 10 s; without CAP_SYS_RESOURCE
        only multiples of 2 s).

        Raises InvalidInput, CgroupError (EOPNOTSUPP: PSI is off).
        """
        low, high = WINDOW_US
        if not low <= window_us <= high:
            raise InvalidInput("window_us", window_us, f"{low} to {high}")
        if not 0 < stall_us <= window_us:
            raise InvalidInput("stall_us", stall_us, "more than 0, at most the window")
        text = f"{kind} {stall_us} {window_us}"
        fd = _open_pressure(cgroup, resource, text)
        self._add(fd, token, is_trigger=True)

    def _add(
        self, fd: int, token: Token, *, is_trigger: bool = False, is_once: bool = False
    ) -> None:
        once = _ONCE_EVENTS if is_once else select.EPOLLPRI
        self._epoll.register(fd, _TRIGGER_EVENTS if is_trigger else once)
        self._sources[fd] = _Source(token, is_trigger, is_once, is_new=is_trigger)
        self._fds.setdefault(token, []).append(fd)

    def poll(self) -> list[Token]:
        """Tokens of what changed, each once, without waiting. Bounded: more may remain, then
        `fileno()` stays readable. A removed cgroup is reported a last time and forgotten."""
        changed: dict[Token, None] = {}
        for fd, mask in self._epoll.poll(0, _BATCH):
            source = self._sources.get(fd)
            if source is None:
                continue
            if source.is_new and not mask & select.EPOLLPRI:
                source.is_new = False
                continue
            changed[source.token] = None
            if not source.is_once and not _is_alive(fd, mask, source.is_trigger):
                self._drop(fd)
        return list(changed)

    def forget(self, token: Token) -> None:
        """Stop watching everything under `token`; one that is not watched is fine."""
        for fd in list(self._fds.get(token, ())):
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        source = self._sources.pop(fd)
        fds = self._fds[source.token]
        fds.remove(fd)
        if not fds:
            del self._fds[source.token]
        # Explicitly: a forked child that holds a copy would keep the registration alive.
        self._epoll.unregister(fd)
        os.close(fd)

    def __len__(self) -> int:
        """How many descriptors are watched."""
        return len(self._sources)

    def close(self) -> None:
        """Stop watching everything. May be called twice."""
        for fd in list(self._sources):
            self._drop(fd)
        self._epoll.close()


def _is_alive(fd: int, mask: int, is_trigger: bool) -> bool:
    """Re-arms a `cgroup.events` watch by reading it. A trigger has EPOLLERR only when its
    cgroup is gone; `cgroup.events` always has it."""
    if is_trigger:
        return not mask & select.EPOLLERR
    try:
        os.pread(fd, 256, 0)
    except OSError:
        return False
    return True


def _open_pressure(cgroup: Cgroup | None, resource: Resource, text: str) -> int:
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
    if cgroup is not None:
        knob = f"{resource}.pressure"
        fd = cgroup.open_file(knob, flags, text)
        path, dir_fd = cgroup.path, cgroup.fileno()
    else:
        knob, path, dir_fd = f"pressure/{resource}", _PROC, -1
        try:
            fd = os.open(_PROC / knob, flags)
        except OSError as error:
            hint = "this kernel has no PSI, or it is off: boot with psi=1"
            raise CgroupError(str(path), knob, text, error.errno, remedy=hint) from error
    try:
        os.write(fd, text.encode() + b"\0")
    except OSError as error:
        os.close(fd)
        raise translate(path, dir_fd, knob, text, error, is_open=True) from error
    return fd
