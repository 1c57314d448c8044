# SPDX-License-Identifier: Apache-2.0
"""What the kernel's refusals mean and what to do about them.

An errno on a cgroup file says little by itself: EBUSY on `cgroup.procs` and EBUSY on
`cgroup.subtree_control` are opposite mistakes. This is the one table of meanings, and the
one place where an `OSError` becomes an error of ours.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentcg.cgroups.knobs import SINCE
from agentcg.errors import CgroupError, CgroupGone, ControllerMissing

PLACE = "cgroup.procs"
CLONE = "clone3"  # not a file: the key of its remedies
SUBTREE = "cgroup.subtree_control"
CONTROLLERS = ("cpu", "cpuset", "io", "memory", "hugetlb", "pids", "rdma", "misc", "dmem")

_UNITS = (".service", ".scope")

_DELEGATED = (
    "this user may not change it: run as root, or have the cgroup delegated (systemd: Delegate=yes)"
)
_READ_ONLY = (
    "cgroup2 is mounted read-only here: remount it read-write, "
    "or start the container with a writable cgroup mount"
)
_VALUE = "the kernel does not take this value"

_KINDS = ("user.", "pressure")  # files that share their remedies

# (errno, file) first, then (errno, "") for any file.
_REMEDIES: dict[tuple[int, str], str] = {
    (errno.EBUSY, SUBTREE): "processes live in this cgroup, and only leaves may hold processes: "
    "move them into a child first",
    (errno.EBUSY, PLACE): "this cgroup passes controllers on to children, and only leaves may "
    "hold processes: place into a leaf",
    (errno.ESRCH, PLACE): "the process has ended",
    (errno.EINVAL, PLACE): "not a process that can be moved (a kernel thread, or one with "
    "real-time scheduling)",
    (errno.EACCES, PLACE): "the writer needs write access to cgroup.procs here and in the common "
    "ancestor of both cgroups: run as root, or move within one delegated subtree",
    (errno.EOPNOTSUPP, PLACE): "the cgroup is threaded or invalid: see its cgroup.type",
    (errno.ENOENT, PLACE): "the process is outside the writer's cgroup namespace",
    (errno.EAGAIN, CLONE): "pids.max of the cgroup or an ancestor is reached",
    (errno.EBUSY, CLONE): "this cgroup passes controllers on to children, and only leaves may "
    "hold processes: clone into a leaf",
    (errno.ENOSYS, CLONE): "no clone3 here (seccomp of a container, or Linux before 5.3): start "
    "the process and place() it",
    (errno.EINVAL, CLONE): "this kernel cannot clone into a cgroup (Linux 5.7 can): start the "
    "process and place() it",
    (errno.EDEADLK, CLONE): "this process has several threads, and only one with a single "
    "thread may clone3: start the child by other means and place() it",
    (errno.ENOENT, SUBTREE): "the controller is not available here: see cgroup.controllers",
    (errno.EOPNOTSUPP, SUBTREE): "the cgroup is threaded: see its cgroup.type",
    (errno.ENODEV, "io.max"): "no such block device",
    (errno.EINVAL, "memory.reclaim"): "this kernel does not know swappiness= (Linux 6.9 does)",
    (errno.EBUSY, "pressure"): "this descriptor has a trigger already",
    (errno.EINVAL, "pressure"): "without CAP_SYS_RESOURCE the window must be a multiple of 2 s",
    (errno.EOPNOTSUPP, "pressure"): "PSI is off: boot with psi=1",
    (errno.EOPNOTSUPP, "user."): "this kernel keeps no user attributes on cgroups (Linux 5.7 does)",
    (errno.ENOSPC, "user."): "the kernel keeps 128 user attributes of 128 KiB together per cgroup",
    (errno.E2BIG, "user."): "an attribute holds 64 KiB at most",
    (errno.EAGAIN, ""): "cgroup.max.depth or cgroup.max.descendants of an ancestor is reached",
    (errno.EBUSY, ""): "it still holds processes or child cgroups",
    (errno.EEXIST, ""): "a cgroup of this name exists already",
    (errno.EACCES, ""): _DELEGATED,
    (errno.EPERM, ""): _DELEGATED,
    (errno.EROFS, ""): _READ_ONLY,
    (errno.EINVAL, ""): _VALUE,
    (errno.ERANGE, ""): _VALUE,
    (errno.EMFILE, ""): "too many open files: raise LimitNOFILE",
}


def remedy(number: int, knob: str) -> str:
    """What to do when the kernel answers `number` on file `knob`."""
    kind = next((kind for kind in _KINDS if kind in knob), knob)
    return _REMEDIES.get((number, kind)) or _REMEDIES.get((number, ""), "")


def translate(
    path: Path, dir_fd: int, knob: str, value: object, error: OSError, *, is_open: bool = False
) -> CgroupError:
    """The error to raise for `error`, met on file `knob` of the cgroup open as `dir_fd`.

    `is_open`: the file itself was there, so that ENOENT is about what was written.
    """
    number = error.errno or errno.EIO
    if number in (errno.ENOENT, errno.ENODEV) and is_gone(dir_fd):
        return CgroupGone(str(path), knob, value, number, remedy="the cgroup was removed")
    if number == errno.ENOENT and knob and not is_open:
        return absent_file(path, knob, value)
    return CgroupError(str(path), knob, value, number, remedy=remedy(number, knob))


def is_gone(dir_fd: int) -> bool:
    """Whether the cgroup behind the descriptor was removed. Each cgroup has this file."""
    try:
        os.stat("cgroup.controllers", dir_fd=dir_fd)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


# --- A file that is not there --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Level:
    """One cgroup on the way up: what it has and what it passes on to its children."""

    path: Path
    controllers: frozenset[str]
    subtree_control: frozenset[str]


def absent_file(path: Path, knob: str, value: object) -> CgroupError:
    """Why `knob` does not exist: its controller is not enabled, or the kernel lacks it."""
    controller = knob.partition(".")[0]
    levels = read_levels(path)
    if controller in CONTROLLERS and levels and controller not in levels[0].controllers:
        return controller_missing(path, controller, knob, value)
    if len(levels) == 1:
        hint = "the root cgroup has no such file"
    elif knob in SINCE:
        hint = f"this kernel has no such file (Linux {SINCE[knob]} brought it)"
    else:
        hint = "this kernel, or this kind of cgroup, has no such file"
    return CgroupError(str(path), knob, value, errno.ENOENT, remedy=hint)


def read_levels(path: Path) -> list[Level]:
    """From the cgroup up to the mount's root; shorter if something on the way is gone."""
    levels = []
    for directory in (path, *path.parents):
        try:
            levels.append(
                Level(
                    directory,
                    frozenset((directory / "cgroup.controllers").read_text().split()),
                    frozenset((directory / SUBTREE).read_text().split()),
                )
            )
        except OSError:
            break
    return levels


def controller_missing(
    path: Path, controller: str, knob: str = "cgroup.controllers", value: object = None
) -> ControllerMissing:
    """Names the cgroup whose `cgroup.subtree_control` lacks `controller`, and what to write."""
    hint = missing_hint(read_levels(path), controller)
    return ControllerMissing(str(path), knob, value, errno.ENOENT, remedy=hint)


def missing_hint(levels: Sequence[Level], controller: str) -> str:
    """Why the first of `levels` lacks `controller` (pure)."""
    culprit = next((level for level in levels[1:] if controller in level.controllers), None)
    if culprit is None:
        return (
            f"controller {controller!r} is not on cgroup v2 at all: it is bound to cgroup v1 "
            "(boot with systemd.unified_cgroup_hierarchy=1) or off (cgroup_disable=)"
        )
    how = _how_to_enable(levels[0].path, culprit.path, controller)
    return f"{culprit.path}/{SUBTREE} lacks {controller!r}: {how}"


def _how_to_enable(path: Path, culprit: Path, controller: str) -> str:
    """systemd rewrites `cgroup.subtree_control` above its units; there a unit asks for it.
    Inside a delegated unit the file is the delegate's own to write."""
    units = [part for part in path.relative_to(culprit).parts if part.endswith(_UNITS)]
    inside_unit = any(part.endswith(_UNITS) for part in culprit.parts)
    if units and not inside_unit:
        return f"set Delegate=yes in unit {units[0]}"
    return f"write '+{controller}' to it"


# --- Errors of our own ----------------------------------------------------------------------


def clone_refused(cgroup_fd: int, number: int) -> CgroupError:
    """The error of a `clone3` into the cgroup open as `cgroup_fd`."""
    link = f"/proc/self/fd/{cgroup_fd}"
    path = os.readlink(link).removesuffix(" (deleted)")  # noqa: PTH115 - a name, not a place
    if number in (errno.ENOENT, errno.ENODEV):
        return CgroupGone(path, "", None, number, remedy="the cgroup was removed")
    return CgroupError(path, "", None, number, remedy=remedy(number, CLONE))


def still_busy(path: Path, occupants: Sequence[str]) -> CgroupError:
    """A cgroup that cannot be removed, and who is in it."""
    who = ", ".join(occupants) or "processes that are still dying"
    return CgroupError(str(path), "", None, errno.EBUSY, remedy=f"still in it: {who}")


def internal_processes(path: Path, pids: Sequence[int]) -> CgroupError:
    """Controllers cannot be passed on while processes live in the cgroup itself."""
    who = f" (in it: process {', '.join(map(str, pids[:3]))})" if pids else ""
    hint = remedy(errno.EBUSY, SUBTREE) + who
    return CgroupError(str(path), SUBTREE, None, errno.EBUSY, remedy=hint)


def not_understood(path: Path, knob: str, error: ValueError) -> CgroupError:
    """A file whose content is not what the kernel documents."""
    return CgroupError(str(path), knob, None, None, remedy=f"unexpected content: {error}")


def process_ended(path: Path, pid: int | None) -> CgroupError:
    """The process of a pidfd is gone. With `pid`, its number was written meanwhile."""
    hint = remedy(errno.ESRCH, PLACE)
    if pid is not None:
        hint += "; if its number was reused at that very moment, the wrong one was moved"
    return CgroupError(str(path), PLACE, pid, errno.ESRCH, remedy=hint)
