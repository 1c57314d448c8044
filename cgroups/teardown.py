# SPDX-License-Identifier: Apache-2.0
"""Emptying and removing cgroups of our own: kill, drain, remove.

Everything here needs our mark on the cgroup that is emptied, and every wait is bounded.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Final

from agentcg.cgroups import refusal
from agentcg.cgroups.knobs import CGROUP_EVENTS, CGROUP_KILL
from agentcg.errors import CgroupError, CgroupGone

if TYPE_CHECKING:
    from agentcg.cgroups.cgroup import Cgroup

REMOVE_TIMEOUT_S: Final = 0.2
"""How long `remove` waits for processes that are dying; a few ms are usual."""

KILL_TIMEOUT_S: Final = 5.0
"""How long `remove_tree` waits for killed processes to be gone."""

DRAIN_TIMEOUT_S: Final = 2.0
"""How long `drain` runs after processes that fork."""

_PAUSE_S: Final = 0.002


def wait_empty(cgroup: Cgroup, timeout_s: float) -> bool:
    """Wait until `cgroup.events` says `populated 0`, or for `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    fd = cgroup.open_file(CGROUP_EVENTS.name, os.O_RDONLY)
    try:
        poller = select.poll()
        poller.register(fd, select.POLLPRI)
        # Reading through this descriptor re-arms its poll, so no change is lost in between.
        while CGROUP_EVENTS.parse(os.pread(fd, 256, 0).decode()).populated:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            poller.poll(left_s * 1000)
    except OSError as error:
        raise cgroup.refused(error, CGROUP_EVENTS.name) from error
    finally:
        os.close(fd)
    return True


def kill(cgroup: Cgroup) -> None:
    """SIGKILL to all processes of `cgroup` and its descendants, including those being forked.

    Where the kernel has no `cgroup.kill` (before 5.14): freeze, signal each, thaw.
    """
    cgroup.require_owned()
    try:
        cgroup.write(CGROUP_KILL, "1")
    except CgroupGone:
        return
    except CgroupError as error:
        if error.errno != errno.ENOENT:
            raise
        kill_each(cgroup)


def kill_each(cgroup: Cgroup) -> None:
    """The way without `cgroup.kill`. Frozen processes cannot fork, yet die of SIGKILL."""
    cgroup.require_owned()
    cgroup.freeze(True)
    try:
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while cgroup.events().populated and time.monotonic() < deadline:
            _signal_tree(cgroup)
            time.sleep(_PAUSE_S)
    finally:
        cgroup.freeze(False)


def _signal_tree(cgroup: Cgroup) -> None:
    for name in cgroup.children():
        try:
            with cgroup.child(name) as below:
                _signal_tree(below)
        except CgroupGone:
            continue
    for pid in cgroup.procs():
        _kill_if_still_in(cgroup, pid)


def _kill_if_still_in(cgroup: Cgroup, pid: int) -> None:
    """A number may be reused between reading and killing; a pidfd taken first may not."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return  # ended meanwhile, or of another pid namespace (0)
    try:
        if pid in cgroup.procs():
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def drain(cgroup: Cgroup, target: Cgroup, timeout_s: float) -> int:
    """Move the processes of `cgroup` itself to `target` until none is left; how many moved.

    A process that forks while it is moved leaves its child behind, so rounds follow until
    one finds nothing. Raises CgroupError if some are left after `timeout_s`.
    """
    cgroup.require_owned()
    deadline = time.monotonic() + timeout_s
    moved = 0
    while pids := cgroup.procs():
        if time.monotonic() > deadline:
            raise CgroupError(
                str(cgroup.path), "cgroup.procs", None, errno.EBUSY,
                remedy=f"{len(pids)} processes are left after {timeout_s} s; freeze it first "
                "if they fork without end",
            )  # fmt: skip
        for pid in pids:
            moved += _move(pid, target)
    return moved


def _move(pid: int, target: Cgroup) -> int:
    """1 if the process moved, 0 if it ended before."""
    try:
        target.place(pid)
    except CgroupGone:
        raise
    except CgroupError as error:
        if error.errno != errno.ESRCH:  # ended meanwhile: nothing to move
            raise
        return 0
    return 1


def remove(parent: Cgroup, name: str, timeout_s: float) -> None:
    """Remove the child `name`, which must be ours and empty; gone already is fine.

    Dying processes keep a cgroup busy for a moment after the last live one left it, so
    EBUSY is tried again for `timeout_s`. It is not where a process still lives or a child
    cgroup exists: that raises CgroupError (EBUSY) at once.
    """
    try:
        with parent.child(name) as child:
            child.require_owned()
            _remove_directory(parent, child, name, timeout_s)
    except CgroupGone:
        parent.read("cgroup.controllers")  # raises CgroupGone if the parent itself is gone


def remove_held(parent: Cgroup, child: Cgroup, timeout_s: float) -> None:
    """As `remove`, of a child that is held open: not of another one that has its name by now."""
    child.require_owned()
    name = child.path.name
    try:
        is_it = os.stat(name, dir_fd=parent.fileno()).st_ino == child.id
    except FileNotFoundError:
        is_it = False
    except OSError as error:
        raise child.refused(error) from error
    if is_it:
        _remove_directory(parent, child, name, timeout_s)


def _remove_directory(parent: Cgroup, child: Cgroup, name: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            os.rmdir(name, dir_fd=parent.fileno())
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise child.refused(error) from error
            occupants = _occupants(child)
            if occupants or time.monotonic() >= deadline:
                raise refusal.still_busy(child.path, occupants) from error
        else:
            return
        time.sleep(_PAUSE_S)


def _occupants(cgroup: Cgroup) -> list[str]:
    try:
        pids, names = cgroup.procs(), cgroup.children()
    except CgroupGone:
        return []
    return [f"process {pid}" for pid in pids[:3]] + [f"cgroup {name}" for name in names[:3]]


def remove_tree(parent: Cgroup, name: str, timeout_s: float) -> None:
    """Kill everything in the child `name`, which must be ours, and remove it with all below.

    Cgroups that its processes made inside it go with it. Raises CgroupError if something
    survives for `timeout_s` (uninterruptible sleep).
    """
    deadline = time.monotonic() + timeout_s
    try:
        with parent.child(name) as child:
            kill(child)
            wait_empty(child, timeout_s)
            _remove_below(child, deadline)
            _remove_directory(parent, child, name, max(0.0, deadline - time.monotonic()))
    except CgroupGone:
        parent.read("cgroup.controllers")


def _remove_below(cgroup: Cgroup, deadline: float) -> None:
    for name in cgroup.children():
        try:
            with cgroup.child(name) as child:
                _remove_below(child, deadline)
                left_s = max(0.0, deadline - time.monotonic())
                _remove_directory(cgroup, child, name, left_s)
        except CgroupGone:
            continue
