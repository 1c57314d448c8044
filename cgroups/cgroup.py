# SPDX-License-Identifier: Apache-2.0
"""A cgroup: its knobs, usage, processes and children.

Any cgroup may be opened and read. Changing one - limits, freeze, kill, remove - needs our
mark on it (`MARK`), which `create()` sets on what it makes and `claim()` on what was given
to us. So a wrong path or id cannot stop or throttle somebody else's processes. Additive
operations on a delegated parent (`create`, `enable`, `place`) need no mark; the kernel's
own permissions decide there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

from agentcg.cgroups import knobs, refusal, teardown, usage
from agentcg.cgroups.directory import OPEN_DIRECTORY, OPEN_WRITE, Directory, check_name
from agentcg.cgroups.formatting import format_bytes, format_io_max
from agentcg.cgroups.knobs import Knob
from agentcg.cgroups.pidfd import pid_of, still_runs
from agentcg.cgroups.values import CgroupEvents, IoMax, Limits, Psi, Usage
from agentcg.errors import CgroupError, CgroupGone, ControllerMissing, InvalidInput

T = TypeVar("T")
Resource = Literal["memory", "cpu", "io"]

MARK: Final = "agentcg.owned"
"""Extended attribute (user.agentcg.owned) of every cgroup that is ours to change."""


class Cgroup(Directory):
    """A handle on one cgroup; a context manager. Not for use by several threads at once."""

    __slots__ = ("_owned",)

    def __init__(self, fd: int, path: Path, *, owned: bool = False) -> None:
        """Takes over `fd`; use `open`, `child` or `create`."""
        super().__init__(fd, path)
        self._owned = owned

    # --- Tree -----------------------------------------------------------------------------

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """The cgroup at an absolute path. Raises CgroupGone where there is none."""
        path = Path(path)
        if not path.is_absolute():
            raise InvalidInput("cgroup", str(path), "an absolute path")
        try:
            fd = os.open(path, OPEN_DIRECTORY)
        except FileNotFoundError as error:
            raise CgroupGone(str(path), "", None, error.errno, remedy="no such cgroup") from error
        except OSError as error:
            raise refusal.translate(path, -1, "", None, error) from error
        if refusal.is_gone(fd):
            os.close(fd)
            raise CgroupError(str(path), "", None, None, remedy="not a cgroup v2 directory")
        return cls(fd, path)

    def duplicate(self) -> Self:
        """Another handle on the same cgroup: for a thread, since this one may be closed meanwhile.

        Raises OSError (EMFILE).
        """
        return type(self)(os.dup(self.fileno()), self.path, owned=self._owned)

    def child(self, name: str) -> Self:
        """The child cgroup `name`. Raises CgroupGone where there is none."""
        return self._open_child(name, self.path / check_name(name))

    def _open_child(self, name: str, path: Path) -> Self:
        try:
            return type(self)(os.open(name, OPEN_DIRECTORY, dir_fd=self._fd), path)
        except FileNotFoundError as error:
            raise CgroupGone(str(path), "", None, error.errno, remedy="no such cgroup") from error
        except OSError as error:
            raise refusal.translate(path, self._fd, "", None, error) from error

    def create(self, name: str) -> Self:
        """Make the child cgroup `name` and mark it as ours. Raises CgroupError (EEXIST)."""
        path = self.path / check_name(name)
        try:
            os.mkdir(name, 0o755, dir_fd=self._fd)
        except OSError as error:
            raise refusal.translate(path, self._fd, "", None, error) from error
        child = None
        try:
            child = self._open_child(name, path)
            # Whatever the umask: runtimes inside size their heaps by the limits they can read.
            os.fchmod(child.fileno(), 0o755)
            child.claim()
        except BaseException:  # whatever it was, leave no cgroup behind that nobody owns
            if child is not None:
                child.close()
            os.rmdir(name, dir_fd=self._fd)
            raise
        return child

    def children(self) -> list[str]:
        """Names of the child cgroups, sorted."""
        try:
            with os.scandir(self._fd) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir())
        except OSError as error:
            raise self.refused(error) from error
        if not names and refusal.is_gone(self._fd):  # readdir takes ENOENT for the end
            raise CgroupGone(str(self.path), "", None, errno.ENOENT, remedy="it was removed")
        return names

    def remove(self, name: str, *, timeout_s: float = teardown.REMOVE_TIMEOUT_S) -> None:
        """Remove the empty child `name`; see `teardown.remove`."""
        teardown.remove(self, name, timeout_s)

    def remove_held(self, child: Cgroup, *, timeout_s: float = teardown.REMOVE_TIMEOUT_S) -> None:
        """Remove the empty `child`, of which this is the handle that `create` or `child` gave."""
        teardown.remove_held(self, child, timeout_s)

    def remove_tree(self, name: str, *, timeout_s: float = teardown.KILL_TIMEOUT_S) -> None:
        """Kill what lives in the child `name` and below, and remove it all."""
        teardown.remove_tree(self, name, timeout_s)

    # --- Ownership ------------------------------------------------------------------------

    @property
    def owned(self) -> bool:
        """Whether the cgroup carries our mark."""
        if not self._owned:
            self._owned = self.get_attr(MARK) is not None
        return self._owned

    def claim(self) -> None:
        """Mark a cgroup as ours to change. For one that was made by somebody else only on
        the explicit word of whoever runs this host."""
        self.set_attr(MARK, b"1")
        self._owned = True

    def require_owned(self) -> None:
        """Raises CgroupError unless the cgroup is ours to change."""
        if not self.owned:
            raise CgroupError(
                str(self.path), f"user.{MARK}", None, None,
                remedy="not a cgroup of agentcg, left alone",
            )  # fmt: skip

    # --- Knobs ----------------------------------------------------------------------------

    def write(self, knob: str, value: str) -> None:
        """Write text to a file of an owned cgroup. Raises ControllerMissing, CgroupError."""
        self.require_owned()
        self._write(knob, value)

    def get(self, knob: Knob[T]) -> T | None:
        """The value of `knob`; `None` where this kernel or this cgroup has no such file."""
        text = self.read_or_none(knob.name)
        if text is None:
            return None
        try:
            return knob.parse(text)
        except ValueError as error:
            raise refusal.not_understood(self.path, knob.name, error) from error

    def _need(self, knob: Knob[T]) -> T:
        """As `get`, of a file that only the root cgroup may lack."""
        value = self.get(knob)
        if value is None:
            raise refusal.absent_file(self.path, knob.name, None)
        return value

    def set(self, knob: Knob[T], value: T) -> None:
        """Write `value` to `knob` of an owned cgroup. Raises InvalidInput before writing."""
        if knob.format is None:
            raise InvalidInput("knob", knob.name, "a file that can be written")
        self.write(knob.name, knob.format(value, knob.name))

    def set_io_max(self, device: str, limit: IoMax) -> None:
        """Limit I/O of an owned cgroup on one block device ("8:0")."""
        self.write(knobs.IO_MAX.name, format_io_max(device, limit))

    def apply(self, limits: Limits) -> None:
        """Write every limit that is not `None`, of an owned cgroup.

        Nothing is written if a value is out of range, a controller is missing or a file may
        not be written: all are formatted and opened first. On Linux 6.16 and later lowering
        memory.high or memory.max returns at once and the cgroup's own next charge reclaims;
        before, the call lasts until the kernel has tried to reclaim the difference.
        """
        self.require_owned()
        wanted: list[tuple[str, str]] = []
        for field, knob in knobs.LIMIT_KNOBS.items():
            value = getattr(limits, field)
            if value is not None:
                wanted.append((knob.name, knob.format(value, field)))  # type: ignore[misc]
        opened: list[int] = []
        try:
            for name, text in wanted:
                opened.append(self.open_file(name, OPEN_WRITE, text))
            for fd, (name, text) in zip(opened, wanted, strict=True):
                self._write_fd(fd, name, text)
        finally:
            for fd in opened:
                os.close(fd)

    def limits(self) -> Limits:
        """The limits in force, rounded by the kernel to whole pages."""
        values: dict[str, Any] = {
            field: self.get(knobs.LIMIT_KNOBS[field]) for field in Limits._fields
        }
        return Limits(**values)

    def reclaim(self, size_bytes: int, *, swappiness: int | None = None) -> bool:
        """Ask the kernel to reclaim `size_bytes` from an owned cgroup; False if it got less.

        Blocks while the kernel works: call it off the event loop. `swappiness` 0 to 200
        (Linux 6.9) chooses between page cache (0) and anonymous memory (200).
        """
        text = format_bytes(size_bytes)
        if swappiness is not None:
            if not 0 <= swappiness <= 200:
                raise InvalidInput("swappiness", swappiness, "a whole number from 0 to 200")
            text += f" swappiness={swappiness}"
        try:
            self.write(knobs.MEMORY_RECLAIM, text)
        except CgroupError as error:
            if error.errno == errno.EAGAIN:  # the kernel's "less than asked for"
                return False
            raise
        return True

    # --- Controllers ----------------------------------------------------------------------

    def controllers(self) -> frozenset[str]:
        """Controllers that this cgroup has, and may pass on."""
        return frozenset(self.read("cgroup.controllers").split())

    def subtree_control(self) -> frozenset[str]:
        """Controllers that this cgroup passes on to its children."""
        return frozenset(self.read(refusal.SUBTREE).split())

    def enable(self, controllers: Iterable[str]) -> None:
        """Pass `controllers` on to the children; all of them or none.

        Raises ControllerMissing (naming the ancestor that withholds it), or CgroupError with
        EBUSY while processes live in this cgroup.
        """
        names = sorted(controllers)
        if not names:
            return
        require_controllers(self, names)
        try:
            self._write(refusal.SUBTREE, " ".join(f"+{name}" for name in names))
        except CgroupError as error:
            if error.errno == errno.EBUSY:
                raise refusal.internal_processes(self.path, self.procs()) from error
            raise

    # --- What it uses ---------------------------------------------------------------------

    def usage(self, controllers: AbstractSet[str] | None = None) -> Usage:
        """Everything that the cgroup used, in one go. `controllers`: where they are known, so
        that files of others are not looked for."""
        return usage.read_usage(self, controllers)

    def events(self) -> CgroupEvents:
        """Whether anything lives in it, and whether all of it is frozen."""
        return self._need(knobs.CGROUP_EVENTS)

    def pressure(self, resource: Resource) -> Psi | None:
        """PSI of the cgroup; `None` where the kernel does not account it."""
        return self.get(_PRESSURE[resource])

    # --- Processes ------------------------------------------------------------------------

    def procs(self) -> list[int]:
        """Processes in this cgroup itself; 0 for one that this pid namespace cannot see."""
        return self._need(knobs.CGROUP_PROCS)

    def procs_fd(self) -> int:
        """A write-only descriptor of `cgroup.procs`, to hand to a process: by writing "0" it
        places itself. The kernel checks the rights of whoever opened it, not the writer's.
        """
        return self.open_file("cgroup.procs", os.O_WRONLY)

    def place(self, pid: int) -> None:
        """Move the process `pid`, with all its threads, here. What it charged stays behind.

        Can take 5-15 ms (percpu rwsem) unless the mount has favordynmods.
        """
        if pid < 1:
            raise InvalidInput("pid", pid, "a process id")  # 0 would move the caller itself
        self._write("cgroup.procs", str(pid))

    def place_pidfd(self, pidfd: int) -> None:
        """Move the process behind `pidfd` here; raises CgroupError (ESRCH) if it has ended.

        The kernel takes only numbers. That the process still runs after the write shows that
        the number was its own all along; if not, nothing is known and the error says so.
        """
        pid = pid_of(pidfd)
        if pid is not None:
            self._write("cgroup.procs", str(pid))
        if pid is None or not still_runs(pidfd):
            raise refusal.process_ended(self.path, pid)

    def drain(self, target: Cgroup, *, timeout_s: float = teardown.DRAIN_TIMEOUT_S) -> int:
        """Move every process from here to `target`; see `teardown.drain`."""
        return teardown.drain(self, target, timeout_s)

    def freeze(self, frozen: bool) -> None:
        """Freeze or thaw all processes of an owned cgroup; `events().frozen` says when."""
        self.set(knobs.CGROUP_FREEZE, frozen)

    def kill(self) -> None:
        """SIGKILL to every process in an owned cgroup and below it; see `teardown.kill`."""
        teardown.kill(self)

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until nothing lives here; False after `timeout_s`. Blocks."""
        return teardown.wait_empty(self, timeout_s)


_PRESSURE: Final[dict[str, Knob[Psi]]] = {
    "memory": knobs.MEMORY_PRESSURE,
    "cpu": knobs.CPU_PRESSURE,
    "io": knobs.IO_PRESSURE,
}


def require_controllers(cgroup: Cgroup, controllers: Iterable[str]) -> None:
    """Raises ControllerMissing, naming the culprit, unless `cgroup` has all `controllers`."""
    missing = sorted(frozenset(controllers) - cgroup.controllers())
    if missing:
        raise refusal.controller_missing(cgroup.path, missing[0])


__all__ = ["MARK", "Cgroup", "ControllerMissing", "require_controllers"]
