# SPDX-License-Identifier: Apache-2.0
"""Refusals of a real kernel, and what their messages say to do."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentcg.cgroups import Cgroup, Limits, find_mount, fork_into, require_controllers
from agentcg.cgroups.mount import MOUNTINFO, parse_mountinfo
from agentcg.errors import CgroupError, ControllerMissing
from cgroup_support import exit_status, own_cgroup, process

NOBODY = 65534
CLONE_NEWNS = 0x20000


@pytest.fixture
def top() -> Iterator[Cgroup]:
    """A cgroup of this test alone."""
    with own_cgroup() as cgroup:
        yield cgroup


def refused(action: Callable[[], object], number: int, *says: str) -> None:
    """`action` must fail with `number` and a message that says `says`."""
    with pytest.raises(CgroupError) as caught:
        action()
    assert caught.value.errno == number
    for part in says:
        assert part in str(caught.value)


def test_controllers_are_not_passed_on_over_processes(top: Cgroup) -> None:
    """The error names the file and who lives there; nothing is enabled."""
    with process() as child:
        top.place(child.pid)
        refused(
            lambda: top.enable(["memory"]), errno.EBUSY,
            "cgroup.subtree_control", f"process {child.pid}", "move them into a child",
        )  # fmt: skip
        assert top.subtree_control() == frozenset()


def test_nothing_is_placed_into_an_inner_node(top: Cgroup) -> None:
    """With controllers passed on, only leaves take processes: by number and at birth."""
    top.enable(["memory"])
    with process() as child:
        refused(lambda: top.place(child.pid), errno.EBUSY, "place into a leaf")
        refused(lambda: fork_into(top.fileno()), errno.EBUSY, "clone into a leaf")
        assert top.procs() == []


def test_a_missing_controller_names_the_file_to_write(top: Cgroup) -> None:
    """Three levels down, the culprit is the one that has the controller and keeps it."""
    top.enable(["cpu"])
    with top.create("a") as a, a.create("b") as b:
        culprit = f"{top.path}/cgroup.subtree_control lacks 'memory': write '+memory' to it"
        attempts: list[Callable[[], object]] = [
            lambda: b.apply(Limits(memory_max=1 << 20)),
            lambda: b.enable(["memory"]),
            lambda: require_controllers(b, ["memory"]),
        ]
        for action in attempts:
            with pytest.raises(ControllerMissing) as caught:
                action()
            assert culprit in str(caught.value)
        top.enable(["memory"])
        a.enable(["memory"])
        b.apply(Limits(memory_max=1 << 20))


def test_several_controllers_are_enabled_all_or_none(top: Cgroup) -> None:
    """One that is missing leaves the others as they were."""
    top.enable(["cpu"])
    with top.create("a") as a:
        with pytest.raises(ControllerMissing):
            a.enable(["cpu", "memory"])
        assert a.subtree_control() == frozenset()


def test_below_a_unit_the_unit_is_told_to_delegate() -> None:
    """systemd keeps controllers from a unit that does not ask: the message says which one."""
    unit = "agentcg-test-undelegated.service"
    subprocess.run(["systemd-run", "-q", f"--unit={unit}", "sleep", "1000"], check=True)
    try:
        with Cgroup.open(find_mount().path / "system.slice" / unit) as cgroup:
            with pytest.raises(ControllerMissing) as caught:
                require_controllers(cgroup, ["hugetlb"])
            assert f"Delegate=yes in unit {unit}" in caught.value.remedy
            changes: list[Callable[[], None]] = [lambda: cgroup.freeze(True), cgroup.kill]
            for change in changes:
                with pytest.raises(CgroupError, match="not a cgroup of agentcg"):
                    change()
    finally:
        subprocess.run(["systemctl", "stop", unit], check=True)


def test_values_that_the_kernel_refuses_change_nothing(top: Cgroup) -> None:
    """Path, file, value and reason are in the message."""
    top.enable(["memory"])
    with top.create("leaf") as leaf:
        leaf.apply(Limits(memory_max=1 << 30))
        refused(
            lambda: leaf.write("memory.max", "1.5X"), errno.EINVAL,
            f"{leaf.path}/memory.max <- '1.5X'", "Invalid argument (EINVAL)",
        )  # fmt: skip
        assert leaf.limits().memory_max == 1 << 30


def test_a_read_only_mount(top: Cgroup, tmp_path: Path) -> None:
    """Where the file system is read-only, as in containers, the message says so.

    A bind mount: another mount of cgroup2 itself would take its options from the host's, too.
    """
    hierarchy = str(find_mount().path)

    def attempt() -> None:
        unshare_mounts()
        for options in (
            ["--make-rprivate", "/"],
            ["--bind", hierarchy, str(tmp_path)],
            ["-o", "remount,bind,ro", str(tmp_path)],
        ):
            subprocess.run(["mount", *options], check=True)
        mounts = {mount.path: mount for mount in parse_mountinfo(MOUNTINFO.read_text())}
        assert mounts[tmp_path].read_only
        with Cgroup.open(tmp_path / top.path.name) as seen:
            refused(lambda: seen.create("leaf"), errno.EROFS, "read-only", "remount")
            refused(lambda: seen.write("cgroup.freeze", "1"), errno.EROFS, "read-only")
            refused(lambda: seen.enable(["memory"]), errno.EROFS, "read-only")
            assert not seen.events().populated

    assert exit_status(attempt) == 0


def unshare_mounts() -> None:
    """A mount namespace of its own (os.unshare is newer than our oldest Python)."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def become_nobody() -> None:
    """Give up all rights."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def test_another_user_may_read_and_not_change(top: Cgroup) -> None:
    """Without delegation each change is refused, and the message says how to delegate."""
    top.enable(["memory"])
    with top.create("leaf") as leaf:

        def attempt() -> None:
            become_nobody()
            assert leaf.usage().memory_current == 0
            with Cgroup.open(top.path) as seen:
                refused(lambda: seen.create("x"), errno.EACCES, "Delegate=yes")
                refused(lambda: seen.enable(["pids"]), errno.EACCES, "Delegate=yes")
                refused(lambda: seen.place(os.getpid()), errno.EACCES, "common ancestor")
            refused(lambda: leaf.apply(Limits(memory_max=1)), errno.EACCES, "Delegate=yes")
            refused(lambda: leaf.set_attr("agentcg.call", b""), errno.EACCES, "Delegate=yes")
            refused(lambda: fork_into(leaf.fileno()), errno.EACCES)

        assert exit_status(attempt) == 0


def test_a_delegated_cgroup_is_its_users_to_manage(top: Cgroup) -> None:
    """The delegate makes children, passes controllers on and moves processes, within it."""
    with top.create("delegated") as delegated:
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(delegated.path / name, NOBODY, NOBODY)
        top.enable(["memory"])

        def as_delegate() -> None:
            with delegated.child("entry") as entry:
                entry.place(os.getpid())
            become_nobody()
            with Cgroup.open(delegated.path) as mine:
                mine.enable(["memory"])
                with mine.create("b") as b:
                    b.place(os.getpid())
                    b.apply(Limits(memory_max=1 << 30))
                    refused(lambda: b.place(os.getppid()), errno.EACCES, "common ancestor")

        delegated.create("entry").close()
        assert exit_status(as_delegate) == 0
