# SPDX-License-Identifier: Apache-2.0
"""A handle on a directory: what it reads, and what it never does.

The directories here are ordinary ones with the files of a cgroup; what only a kernel can
show is in tests/native and tests/guest.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from agentcg.cgroups import MAX, Cgroup, CpuMax, CpuStat, IoStat, Limits, MemoryEvents, Peak, knobs
from agentcg.cgroups.values import Stalled
from agentcg.errors import CgroupError, CgroupGone, ControllerMissing, InvalidInput

CPU_STAT = "usage_usec 30\nuser_usec 10\nsystem_usec 20\n"
LEAF = {
    "cgroup.controllers": "cpu io memory pids\n",
    "cgroup.subtree_control": "",
    "cgroup.events": "populated 1\nfrozen 0\n",
    "cgroup.procs": "12\n34\n",
    "cpu.stat": CPU_STAT,
    "cpu.max": "max 100000\n",
    "cpu.weight": "100\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n",
    "io.weight": "default 100\n",
    "memory.current": "4096\n",
    "memory.peak": "8192\n",
    "memory.events": "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n",
    "memory.stat": "anon 1\nfile 2\npgfault 3\npgmajfault 4\n",
    "memory.high": "max\n",
    "memory.max": "1073741824\n",
    "memory.oom.group": "1\n",
    "pids.current": "2\n",
    "pids.max": "100\n",
}


def tree(path: Path, files: dict[str, str]) -> Path:
    """A directory at `path` with `files`."""
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def test_a_duplicate_outlives_the_handle_that_it_is_of(tmp_path: Path) -> None:
    """A thread works with one of its own: whoever handed it over may close theirs."""
    with Cgroup.open(tree(tmp_path, LEAF)) as leaf:
        own = leaf.duplicate()
    with own:
        assert (own.path, own.id, own.get(knobs.MEMORY_CURRENT)) == (leaf.path, leaf.id, 4096)


def test_usage_gathers_every_file_and_leaves_absent_ones_none(tmp_path: Path) -> None:
    """One call answers all; what this cgroup does not count is None, never zero."""
    with Cgroup.open(tree(tmp_path, LEAF)) as leaf:
        usage = leaf.usage()
    assert (usage.memory_current, usage.memory_peak) == (4096, 8192)
    assert usage.memory_events == MemoryEvents(0, 1, 2, 3, 4, 5)
    assert usage.memory_stat is not None
    assert (usage.memory_stat.pgfault, usage.memory_stat.kernel) == (3, None)
    assert usage.cpu_stat == CpuStat(30, 10, 20, None, None, None)
    assert usage.io_stat == IoStat(1, 2, 3, 4, 5, 6)
    assert (usage.pids_current, usage.pids_peak) == (2, None)
    assert (usage.memory_swap_current, usage.memory_swap_peak) == (None, None)
    assert usage.memory_stalled is None


def test_usage_asks_only_for_what_controllers_bring(tmp_path: Path) -> None:
    """Files of other controllers are not looked for; CPU time and pressure need none."""
    stalled = {"io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"}
    with Cgroup.open(tree(tmp_path, LEAF | stalled)) as leaf:
        usage = leaf.usage({"pids"})
        assert usage.cpu_stat == leaf.usage().cpu_stat
    assert (usage.memory_current, usage.memory_events, usage.io_stat) == (None, None, None)
    assert (usage.pids_current, usage.io_stalled) == (2, Stalled(7, None))


def test_limits_are_read_back_as_values(tmp_path: Path) -> None:
    """ "max" is MAX, and a limit without its file is None."""
    with Cgroup.open(tree(tmp_path, LEAF)) as leaf:
        assert leaf.limits() == Limits(
            memory_high=MAX, memory_max=1 << 30, memory_oom_group=True, cpu_weight=100,
            cpu_max=CpuMax(MAX), io_weight=100, pids_max=100,
        )  # fmt: skip


def test_processes_events_and_controllers(tmp_path: Path) -> None:
    """The small files have a method each."""
    with Cgroup.open(tree(tmp_path, LEAF)) as leaf:
        assert leaf.procs() == [12, 34]
        assert leaf.events().populated
        assert leaf.controllers() == {"cpu", "io", "memory", "pids"}
        assert leaf.pressure("cpu") is None


def test_children_are_directories_only(tmp_path: Path) -> None:
    """The kernel's files beside them are not children."""
    tree(tmp_path, LEAF)
    for name in ("call-2", "call-1"):
        tree(tmp_path / name, LEAF)
    with Cgroup.open(tmp_path) as session:
        assert session.children() == ["call-1", "call-2"]
        with session.child("call-1") as leaf:
            assert leaf.path == tmp_path / "call-1"
            assert leaf.id == (tmp_path / "call-1").stat().st_ino


def test_a_read_of_an_absent_file_says_why(tmp_path: Path) -> None:
    """`get` answers None; `read`, which must answer, says what is missing."""
    root = tree(tmp_path, LEAF)
    leaf_path = tree(tmp_path / "leaf", {**LEAF, "cgroup.controllers": "cpu\n"})
    (leaf_path / "memory.high").unlink()
    (root / "cgroup.subtree_control").write_text("cpu\n")
    with Cgroup.open(leaf_path) as leaf:
        assert leaf.get(knobs.MEMORY_HIGH) is None
        with pytest.raises(ControllerMissing, match=r"write '\+memory' to it"):
            leaf.read("memory.high")


def test_content_that_no_kernel_writes_is_an_error_with_its_place(tmp_path: Path) -> None:
    """A file that is not understood is named, with what was wrong in it."""
    with (
        Cgroup.open(tree(tmp_path, {**LEAF, "memory.current": "4 KiB\n"})) as leaf,
        pytest.raises(CgroupError, match=r"memory\.current.*unexpected content"),
    ):
        leaf.usage()


def test_nothing_is_opened_where_there_is_no_cgroup(tmp_path: Path) -> None:
    """A path that does not exist is a gone cgroup; another directory is not a cgroup."""
    with pytest.raises(CgroupGone):
        Cgroup.open(tmp_path / "none")
    with pytest.raises(CgroupError, match="not a cgroup v2 directory"):
        Cgroup.open(tmp_path)
    with pytest.raises(InvalidInput, match="absolute"):
        Cgroup.open("sys/fs/cgroup")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\0", "a\nb", "x" * 256])
def test_a_name_never_leads_out_of_the_cgroup(tmp_path: Path, name: str) -> None:
    """Names of children are single path components, whatever a caller passes."""
    with Cgroup.open(tree(tmp_path, LEAF)) as leaf:
        for method in (leaf.child, leaf.create, leaf.remove, leaf.remove_tree):
            with pytest.raises(InvalidInput):
                method(name)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(LEAF)


def test_a_file_name_never_leads_out_of_the_cgroup(tmp_path: Path) -> None:
    """Files are reached by name in the directory, not by path."""
    (tmp_path / "secret").write_text("1\n")
    with (
        Cgroup.open(tree(tmp_path / "cg", LEAF)) as leaf,
        pytest.raises(InvalidInput, match="name of a file"),
    ):
        leaf.read("../secret")


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    """cgroupfs has none, so one means that the directory is not what it seems."""
    tree(tmp_path / "cg", LEAF)
    (tmp_path / "cg" / "link").symlink_to(tmp_path / "cg")
    with Cgroup.open(tmp_path / "cg") as leaf, pytest.raises(CgroupError):
        leaf.child("link")


@pytest.mark.parametrize("pid", [0, -1])
def test_a_pid_that_would_move_the_caller_is_refused(tmp_path: Path, pid: int) -> None:
    """The kernel takes 0 for the writer itself: that is never meant here."""
    with Cgroup.open(tree(tmp_path, LEAF)) as leaf, pytest.raises(InvalidInput, match="pid"):
        leaf.place(pid)
    assert (tmp_path / "cgroup.procs").read_text() == LEAF["cgroup.procs"]


def test_a_cgroup_without_our_mark_is_left_alone(tmp_path: Path) -> None:
    """Whatever stops, limits or removes is refused unless the cgroup is marked as ours."""
    tree(tmp_path, LEAF)
    tree(tmp_path / "child", LEAF)
    with Cgroup.open(tmp_path) as other:
        for change in (
            lambda: other.apply(Limits(memory_max=1)),
            lambda: other.set(knobs.MEMORY_MAX, 1),
            lambda: other.write("memory.max", "1"),
            lambda: other.freeze(True),
            other.kill,
            lambda: other.drain(other),
            lambda: other.reclaim(4096),
            lambda: other.remove("child"),
            lambda: other.remove_tree("child"),
        ):
            with pytest.raises(CgroupError, match="not a cgroup of agentcg"):
                change()
    assert {p.name: p.read_text() for p in tmp_path.iterdir() if p.is_file()} == LEAF


def test_a_limit_out_of_range_changes_nothing(tmp_path: Path) -> None:
    """All values are checked before the first is written."""
    with Cgroup.open(tree(tmp_path, LEAF)) as leaf:
        leaf.claim()
        with pytest.raises(InvalidInput, match="cpu_weight"):
            leaf.apply(Limits(memory_max=1 << 20, cpu_weight=0))
    assert (tmp_path / "memory.max").read_text() == LEAF["memory.max"]


def test_a_missing_file_changes_nothing(tmp_path: Path) -> None:
    """All files are opened before the first is written."""
    with Cgroup.open(tree(tmp_path, LEAF)) as leaf:
        leaf.claim()
        with pytest.raises(CgroupError) as caught:
            leaf.apply(Limits(memory_high=1 << 20, memory_low=1 << 20))
    assert (caught.value.knob, caught.value.errno) == ("memory.low", errno.ENOENT)
    assert (tmp_path / "memory.high").read_text() == LEAF["memory.high"]


def test_a_closed_handle_reaches_nothing(tmp_path: Path) -> None:
    """Closing twice is fine; using a closed handle is an error and not another directory."""
    leaf = Cgroup.open(tree(tmp_path, LEAF))
    leaf.close()
    leaf.close()
    with pytest.raises(CgroupError, match="EBADF"):
        leaf.read("cpu.stat")


def test_a_peak_that_cannot_be_reset_is_none(tmp_path: Path) -> None:
    """Before Linux 6.12 the file has no write bit; in other cgroups there is no file at all."""
    with Cgroup.open(tree(tmp_path, LEAF)) as leaf:
        (tmp_path / "memory.peak").chmod(0o444)
        assert Peak.open(leaf) is None
        assert Peak.open(leaf, knobs.MEMORY_SWAP_PEAK) is None


def test_reclaim_asks_for_bytes_and_swappiness(tmp_path: Path) -> None:
    """The kernel's own syntax, and bounds that are checked before it is asked."""
    with Cgroup.open(tree(tmp_path, {**LEAF, "memory.reclaim": ""})) as leaf:
        leaf.claim()
        assert leaf.reclaim(1 << 20, swappiness=60)
        assert (tmp_path / "memory.reclaim").read_text() == "1048576 swappiness=60"
        for size, swappiness in ((-1, None), (1, -1), (1, 201)):
            with pytest.raises(InvalidInput):
                leaf.reclaim(size, swappiness=swappiness)
