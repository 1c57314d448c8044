# SPDX-License-Identifier: Apache-2.0
"""Threads that are given the policy SCHED_EXT, and given back (sched(7)).

The kernel takes only numbers of threads, and a number may be another thread's by then. So what is
listed is listed again after the change: who is there both times was meant. Who is not any more has
ended, has moved, or never was: unless it `stays`, it gets back what it had.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from agentcg.cgroups.directory import OPEN_DIRECTORY, read_at

SCHED_EXT = 7  # linux/sched.h
_ROUNDS = 8
_NICEST = 19
_RESET_ON_FORK = 1  # linux/sched.h: SCHED_FLAG_RESET_ON_FORK
_SYS_SCHED_SETATTR = {"x86_64": 314, "ppc64le": 355, "s390x": 345}.get(platform.machine(), 274)
_CAP_SYS_NICE = 23  # linux/capability.h
_GONE = (errno.ENOENT, errno.ENODEV, errno.ESRCH)

_libc = ctypes.CDLL(None, use_errno=True)


class _Attr(ctypes.Structure):
    """struct sched_attr of linux/sched/types.h, its first version."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("times", ctypes.c_uint64 * 3),
    )


class Had(NamedTuple):
    """The policy of a thread, with SCHED_RESET_ON_FORK where that is set, and its nice level."""

    policy: int
    nice: int


class Change(NamedTuple):
    """From which policies to which one."""

    of: frozenset[int]
    to: int

    def of_thread(self, had: Had) -> Had | None:
        """What a thread is to have; None: it is left alone.

        There is no SCHED_IDLE within SCHED_EXT: the nicest of levels comes next to it.
        """
        policy = had.policy & ~os.SCHED_RESET_ON_FORK
        if policy not in self.of:
            return None
        nice = _NICEST if policy == os.SCHED_IDLE else had.nice
        return Had(self.to | had.policy & os.SCHED_RESET_ON_FORK, nice)


TAKE = Change(frozenset({os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE}), SCHED_EXT)
GIVE_BACK = Change(frozenset({SCHED_EXT}), os.SCHED_OTHER)


def change(
    what: Change, threads: Callable[[], Collection[int]], stays: Callable[[int], bool]
) -> int:
    """Change all that `threads` lists, in rounds until one finds nobody: who is born meanwhile has
    the policy of who made it. How many the kernel refused.
    """
    refused: set[int] = set()
    for _ in range(_ROUNDS):
        changed = {}
        for thread in set(threads()) - refused:
            had = had_by(thread)
            wanted = None if had is None else what.of_thread(had)
            if had is None or wanted is None:
                continue
            if give(thread, wanted):
                changed[thread] = had
            else:
                refused.add(thread)
        if not changed:
            break
        for thread in changed.keys() - set(threads()):
            if not stays(thread):
                give(thread, changed[thread])
    return len(refused)


def may_change() -> bool:
    """Whether this process may change tasks of other users, and those of more capabilities than its
    own (security/commoncap.c)."""
    status = Path("/proc/self/status").read_text()
    return bool(int(status.partition("CapEff:")[2].split()[0], 16) >> _CAP_SYS_NICE & 1)


def had_by(thread: int) -> Had | None:
    """Policy and nice level of a thread; None if there is none of this number."""
    try:
        return Had(os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread))
    except ProcessLookupError:
        return None


def give(thread: int, wanted: Had) -> bool:
    """Let a thread, if there is one, have that; False if the kernel does not permit it.

    By sched_setattr, of which systemd's RestrictRealtime= leaves alone what is not real-time.
    """
    attr = _Attr(
        size=ctypes.sizeof(_Attr),
        policy=wanted.policy & ~os.SCHED_RESET_ON_FORK,
        flags=_RESET_ON_FORK if wanted.policy & os.SCHED_RESET_ON_FORK else 0,
        nice=wanted.nice,
    )
    if _libc.syscall(_SYS_SCHED_SETATTR, thread, ctypes.byref(attr), 0) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.ESRCH:
        return True
    if number in (errno.EPERM, errno.EACCES):
        return False
    raise OSError(number, os.strerror(number), f"policy of thread {thread}")


def threads_of(cgroup: Path) -> list[int]:
    """The threads in a cgroup itself that this pid namespace can see; none once it is gone."""
    try:
        fd = os.open(cgroup, OPEN_DIRECTORY)
        try:
            return [number for number in map(int, read_at(fd, "cgroup.threads").split()) if number]
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise


def tree(cgroup: Path) -> Iterator[Path]:
    """A cgroup and all below it, as they are found when it is their turn."""
    waiting = [cgroup]
    while waiting:
        here = waiting.pop()
        yield here
        try:
            with os.scandir(here) as entries:
                waiting += [Path(entry.path) for entry in entries if entry.is_dir()]
        except OSError as error:
            if error.errno not in _GONE:
                raise
