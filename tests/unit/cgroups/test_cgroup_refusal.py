# SPDX-License-Identifier: Apache-2.0
"""What the kernel's refusals are said to mean."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from agentcg.cgroups.refusal import Level, missing_hint, remedy, translate
from agentcg.errors import CgroupError, CgroupGone, ControllerMissing

ALL = frozenset({"cpu", "io", "memory", "pids"})
NONE: frozenset[str] = frozenset()


def levels(*pairs: tuple[str, frozenset[str], frozenset[str]]) -> list[Level]:
    """Levels from the cgroup upward: path, controllers, subtree_control."""
    return [Level(Path(path), has, passes) for path, has, passes in pairs]


def test_the_ancestor_that_withholds_a_controller_is_named() -> None:
    """The file to write is the one of the lowest ancestor that still has the controller."""
    hint = missing_hint(
        levels(
            ("/cg/a/b/c", NONE, NONE),
            ("/cg/a/b", NONE, NONE),
            ("/cg/a", ALL, frozenset({"cpu"})),
            ("/cg", ALL, ALL),
        ),
        "memory",
    )
    assert hint == "/cg/a/cgroup.subtree_control lacks 'memory': write '+memory' to it"


def test_below_a_systemd_unit_the_unit_must_delegate() -> None:
    """systemd would undo what is written above its units, so the unit has to ask."""
    hint = missing_hint(
        levels(
            ("/cg/system.slice/x.service/sub", NONE, NONE),
            ("/cg/system.slice/x.service", NONE, NONE),
            ("/cg/system.slice", ALL, NONE),
            ("/cg", ALL, ALL),
        ),
        "memory",
    )
    assert "set Delegate=yes in unit x.service" in hint


def test_inside_a_delegated_unit_the_file_is_ours_to_write() -> None:
    """The unit has the controller already; only its own subtree_control lacks it."""
    hint = missing_hint(
        levels(
            ("/cg/system.slice/x.service/sub", NONE, NONE),
            ("/cg/system.slice/x.service", ALL, NONE),
            ("/cg/system.slice", ALL, ALL),
        ),
        "memory",
    )
    assert hint.endswith("x.service/cgroup.subtree_control lacks 'memory': write '+memory' to it")


def test_a_controller_that_no_level_has_is_bound_to_v1_or_off() -> None:
    """If the root lacks it, no file of cgroup v2 can bring it."""
    hint = missing_hint(levels(("/cg/a", NONE, NONE), ("/cg", NONE, NONE)), "memory")
    assert "cgroup v1" in hint
    assert "cgroup_disable=" in hint


@pytest.mark.parametrize(
    ("number", "knob", "says"),
    [
        (errno.EBUSY, "cgroup.subtree_control", "move them into a child"),
        (errno.EBUSY, "cgroup.procs", "place into a leaf"),
        (errno.EBUSY, "", "child cgroups"),
        (errno.EACCES, "memory.max", "Delegate=yes"),
        (errno.EACCES, "cgroup.procs", "common ancestor"),
        (errno.EROFS, "memory.max", "read-only"),
        (errno.EINVAL, "cpu.max", "does not take this value"),
        (errno.EOPNOTSUPP, "memory.pressure", "psi=1"),
        (errno.EOPNOTSUPP, "user.agentcg.call", "user attributes"),
        (errno.ESRCH, "cgroup.procs", "has ended"),
        (errno.EAGAIN, "", "max.depth"),
    ],
)
def test_one_errno_means_different_things_on_different_files(
    number: int, knob: str, says: str
) -> None:
    """The way on depends on the file, not on the number alone."""
    assert says in remedy(number, knob)


def test_an_error_names_path_file_value_reason_and_remedy(tmp_path: Path) -> None:
    """Whoever reads the message needs nothing else to act."""
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        error = translate(tmp_path, fd, "memory.max", "1", OSError(errno.EROFS, ""))
    finally:
        os.close(fd)
    assert type(error) is CgroupError
    assert str(error).startswith(f"{tmp_path}/memory.max <- '1': Read-only file system (EROFS); ")
    assert (error.knob, error.value, error.errno) == ("memory.max", "1", errno.EROFS)


@pytest.mark.parametrize(
    ("controllers", "kind", "says"),
    [
        ("memory\n", CgroupError, "Linux 5.19 brought it"),
        ("cpu\n", ControllerMissing, "memory"),
    ],
)
def test_a_file_that_is_not_there(
    tmp_path: Path, controllers: str, kind: type[CgroupError], says: str
) -> None:
    """With its controller enabled the kernel is too old; without, the controller is missing."""
    for directory in (tmp_path, tmp_path / "a"):
        directory.mkdir(exist_ok=True)
        (directory / "cgroup.controllers").write_text(controllers)
        (directory / "cgroup.subtree_control").write_text("")
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    try:
        error = translate(
            tmp_path / "a", fd, "memory.reclaim", "1", FileNotFoundError(errno.ENOENT, "")
        )
    finally:
        os.close(fd)
    assert type(error) is kind
    assert says in error.remedy


def test_a_directory_without_cgroup_files_is_a_cgroup_that_is_gone(tmp_path: Path) -> None:
    """A removed cgroup has no files, not even the one that every cgroup has."""
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        error = translate(tmp_path, fd, "cpu.stat", None, FileNotFoundError(errno.ENOENT, ""))
    finally:
        os.close(fd)
    assert type(error) is CgroupGone
