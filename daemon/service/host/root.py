# SPDX-License-Identifier: Apache-2.0
"""The root of all sessions: where it is, whether it will do, and that it is ours alone."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from agentcg.cgroups import Cgroup, find_mount
from agentcg.daemon.service.records import ROOT_MARK, RootRecord, decode, encode
from agentcg.errors import AgentcgError, CgroupError, ControllerMissing, StartupError

AUTO = "auto"
HOLDER = Path("agentcg.slice/agentcg-sessions.service")
NAME = "sessions"
WANTED = ("memory", "cpu", "pids", "io")
"""Controllers that are enabled for sessions where the kernel offers them."""

_DELEGATE_MARKS = ("delegate",)  # systemd sets user.delegate=1 on what it delegates (v251)


def locate(asked: str) -> Path:
    """The path of the root: `asked`, or with "auto" the one below the systemd holder unit."""
    mount = find_mount()
    if asked != AUTO:
        return _writable(Path(asked))
    holder = mount.path / HOLDER
    if not holder.is_dir():
        raise StartupError(
            f"there is no {holder}",
            remedy="start agentcg-sessions.service, or name a delegated cgroup with --root PATH",
        )
    return _writable(holder / NAME)


def _writable(path: Path) -> Path:
    """`path`, if its parent can be written: a sandbox may leave the rest of the tree read-only."""
    if path.parent.is_dir() and os.statvfs(path.parent).f_flag & os.ST_RDONLY:
        raise StartupError(
            f"cgroup v2 at {path.parent} is mounted read-only",
            remedy="run the daemon on the host, or give the container a writable cgroup mount",
        )
    return path


class Root:
    """The open, locked root cgroup. `controllers`: those that sessions have."""

    def __init__(self, cgroup: Cgroup, controllers: frozenset[str], lock: int) -> None:
        self.cgroup = cgroup
        self.controllers = controllers
        self._lock = lock
        self.record = self._read_record()

    @classmethod
    def open(cls, path: Path, require: frozenset[str]) -> Root:
        """Create or adopt the root at `path`; raises `StartupError` where it will not do."""
        try:
            with _open_parent(path) as parent:
                _check_delegated(parent)
                if path.name not in parent.children():
                    parent.create(path.name).close()
                _enable(parent, require)
            cgroup = Cgroup.open(path)
        except CgroupError as error:
            raise _unusable(error) from error
        lock = _lock(path)
        try:
            _claim(cgroup)
            _enable(cgroup, require)
            return cls(cgroup, frozenset(cgroup.subtree_control()), lock)
        except AgentcgError as error:
            os.close(lock)
            cgroup.close()
            raise _unusable(error) from error

    def _read_record(self) -> RootRecord:
        raw = self.cgroup.get_attr(ROOT_MARK)
        if raw is not None:
            return decode(raw, RootRecord, str(self.cgroup.path))
        record = RootRecord()
        self.cgroup.set_attr(ROOT_MARK, encode(record))
        return record

    def save(self, record: RootRecord) -> None:
        """Keep `record` on the cgroup."""
        self.cgroup.set_attr(ROOT_MARK, encode(record))
        self.record = record

    def close(self) -> None:
        """Give the root back; what lives below it goes on."""
        self.cgroup.close()
        os.close(self._lock)


def _unusable(error: AgentcgError) -> AgentcgError:
    if not isinstance(error, CgroupError):
        return error
    return StartupError(f"the root cannot be used: {error.message}", remedy=error.remedy)


def _open_parent(path: Path) -> Cgroup:
    mount = find_mount()
    if mount.path not in path.parents:
        raise StartupError(
            f"{path} is not below {mount.path}, where cgroup v2 is mounted",
            remedy="name a cgroup with --root; its parent must exist and be delegated",
        )
    return Cgroup.open(path.parent)


def _check_delegated(parent: Cgroup) -> None:
    """systemd takes away cgroups and limits that it finds in what it has not delegated."""
    if not Path("/run/systemd/system").is_dir():
        return
    mount = find_mount().path
    for directory in (parent.path, *parent.path.parents):
        if directory == mount:
            break
        if any(_has_mark(directory, mark) for mark in _DELEGATE_MARKS):
            return
    raise StartupError(
        f"{parent.path} belongs to systemd and is not delegated",
        remedy="use a unit with Delegate=yes (agentcg-sessions.service is one)",
    )


def _claim(cgroup: Cgroup) -> None:
    """A cgroup that the operator names is ours if we made it, or if there is nothing in it."""
    if cgroup.owned:
        return
    if cgroup.events().populated or cgroup.children():
        raise StartupError(
            f"{cgroup.path} was not made by agentcg and is not empty",
            remedy="name one that does not exist yet; the daemon creates it",
        )
    cgroup.claim()


def _has_mark(directory: Path, name: str) -> bool:
    try:
        return os.getxattr(directory, f"user.{name}") == b"1"
    except OSError:
        return False


def _enable(cgroup: Cgroup, require: frozenset[str]) -> None:
    """Pass the controllers on to the children: the wanted ones if offered, the rest or raise."""
    offered = set(cgroup.controllers())
    if missing := sorted(require - offered):
        raise ControllerMissing(
            str(cgroup.path), "cgroup.controllers", missing[0], None,
            remedy=f"the parent's cgroup.subtree_control does not pass {missing[0]} on (systemd: "
            "Delegate=yes), or the controller is bound to cgroup v1; `--require` names what "
            "is needed",
        )  # fmt: skip
    if wanted := (set(WANTED) | require) & offered - set(cgroup.subtree_control()):
        cgroup.enable(sorted(wanted))


def _lock(path: Path) -> int:
    """Hold the root's own directory locked; the kernel lets go of it when the daemon dies."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StartupError(
            f"another agentcgd works on {path}",
            remedy="stop it first (`systemctl stop agentcgd`), or give --root another cgroup",
        ) from None
    return descriptor
