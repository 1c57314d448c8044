# SPDX-License-Identifier: Apache-2.0
"""Making, emptying and removing cgroups of our own on the real kernel."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from agentcg.cgroups import MARK, Cgroup, require_controllers, teardown
from agentcg.errors import CgroupError, CgroupGone, ControllerMissing
from cgroup_support import exit_status, own_cgroup, process, until

# Waits until it is placed: what it forked before would escape the test's cgroup, and never end.
FORKS_WITHOUT_END = """
import os, time
while "/agentcg-test-" not in open("/proc/self/cgroup").read():
    time.sleep(0.001)
while True:
    if os.fork():
        time.sleep(0.001)
        os._exit(0)
"""


@pytest.fixture
def top() -> Iterator[Cgroup]:
    """A cgroup of this test alone."""
    with own_cgroup() as cgroup:
        yield cgroup


def test_a_new_cgroup_is_marked_and_has_the_kernels_id(top: Cgroup) -> None:
    """What we make is ours from the start; its id is the inode number that BPF sees."""
    with top.create("leaf") as leaf:
        assert leaf.owned
        assert os.getxattr(leaf.path, f"user.{MARK}") == b"1"
        assert leaf.id == leaf.path.stat().st_ino
        assert top.children() == ["leaf"]
        assert not leaf.events().populated
        with pytest.raises(CgroupError, match="exists already"):
            top.create("leaf")


def test_everybody_may_read_a_new_cgroup(top: Cgroup) -> None:
    """A daemon's narrow umask does not hide limits from the programs that live under them."""
    before = os.umask(0o077)
    try:
        with top.create("leaf") as leaf:
            assert leaf.path.stat().st_mode & 0o777 == 0o755
    finally:
        os.umask(before)


def test_the_mark_survives_the_handle(top: Cgroup) -> None:
    """A later handle, such as a restarted daemon's, finds the cgroup to be ours."""
    top.create("leaf").close()
    with top.child("leaf") as again:
        again.freeze(False)


def test_a_reused_name_is_another_cgroup(top: Cgroup) -> None:
    """A handle stays with the cgroup it was opened on, even when its name is taken again."""
    with top.create("leaf") as old:
        top.remove("leaf")
        with top.create("leaf") as new, process() as child:
            new.place(child.pid)
            assert new.id != old.id
            for use in (old.usage, old.procs, old.events, old.children):
                with pytest.raises(CgroupGone):
                    use()
            assert new.procs() == [child.pid]
            assert child.poll() is None


def test_attributes_keep_what_must_survive(top: Cgroup) -> None:
    """Bytes go in and come out; what is not set is None; removing twice is fine."""
    assert top.get_attr("agentcg.call") is None
    top.set_attr("agentcg.call", b'{"id":"abcd"}')
    assert top.get_attr("agentcg.call") == b'{"id":"abcd"}'
    top.remove_attr("agentcg.call")
    top.remove_attr("agentcg.call")
    assert top.get_attr("agentcg.call") is None
    with pytest.raises(CgroupError, match="64 KiB at most"):
        top.set_attr("agentcg.call", b"x" * 70_000)


def test_a_cgroup_with_something_in_it_is_not_removed(top: Cgroup) -> None:
    """The error says which process or child cgroup keeps it."""
    with top.create("leaf") as leaf, process() as child:
        leaf.place(child.pid)
        with pytest.raises(CgroupError, match=f"process {child.pid}"):
            top.remove("leaf")
        assert child.poll() is None
    with top.create("inner") as inner:
        inner.create("deep").close()
        with pytest.raises(CgroupError, match="cgroup deep"):
            top.remove("inner")


def test_removing_what_is_gone_is_fine(top: Cgroup) -> None:
    """Removal is idempotent, so that it can be repeated after a crash."""
    top.create("leaf").close()
    top.remove("leaf")
    top.remove("leaf")
    top.remove_tree("leaf")
    assert top.children() == []


def test_a_held_cgroup_is_removed_and_no_other_one_of_its_name(top: Cgroup) -> None:
    """Whoever has a handle need not open it again; gone already is fine."""
    with top.create("leaf") as leaf:
        top.remove_held(leaf)
        assert top.children() == []
        top.remove_held(leaf)
        with top.create("leaf"):
            top.remove_held(leaf)
            assert top.children() == ["leaf"]
    top.remove("leaf")


def test_removal_waits_for_the_dying(top: Cgroup) -> None:
    """Right after the kill the kernel still answers EBUSY; removal takes that in its stride."""
    for _ in range(20):
        with top.create("leaf") as leaf, process() as child:
            leaf.place(child.pid)
            leaf.kill()
            child.wait()
            top.remove("leaf")
    assert top.children() == []


def test_kill_reaches_everything_below(top: Cgroup) -> None:
    """Processes of descendants die too, and none escapes by forking."""
    with (
        top.create("a") as a,
        a.create("b") as b,
        process() as first,
        process(FORKS_WITHOUT_END) as second,
    ):
        a.place(first.pid)
        b.place(second.pid)
        a.kill()
        assert a.wait_empty(120)
        assert first.wait() == -signal.SIGKILL


def test_killing_one_by_one_where_the_kernel_has_no_cgroup_kill(top: Cgroup) -> None:
    """Without cgroup.kill even a process that forks without end is killed, and it stays thawed."""
    with (
        top.create("a") as a,
        a.create("b") as b,
        process() as first,
        process(FORKS_WITHOUT_END) as second,
    ):
        a.place(first.pid)
        b.place(second.pid)
        teardown.kill_each(a)
        assert not a.events().populated
        assert a.read("cgroup.freeze") == "0\n"


def test_a_whole_tree_is_removed(top: Cgroup) -> None:
    """Cgroups that the processes made inside ours carry no mark and go with it."""
    with top.create("a") as a, process() as child:
        (a.path / "made-by-them" / "deeper").mkdir(parents=True)
        with Cgroup.open(a.path / "made-by-them" / "deeper") as deeper:
            deeper.place(child.pid)
        top.remove_tree("a")
        assert child.wait() == -signal.SIGKILL
    assert top.children() == []


def test_somebody_elses_cgroup_is_left_alone(top: Cgroup) -> None:
    """A cgroup that we did not make is neither killed nor removed, empty or not."""
    theirs = top.path / "theirs"
    theirs.mkdir()
    with top.child("theirs") as cgroup, process() as child:
        cgroup.place(child.pid)
        attempts: list[Callable[[], None]] = [
            cgroup.kill,
            lambda: top.remove("theirs"),
            lambda: top.remove_tree("theirs"),
        ]
        for destroy in attempts:
            with pytest.raises(CgroupError, match="not a cgroup of agentcg"):
                destroy()
        assert child.poll() is None
    assert theirs.exists()


def test_a_claimed_cgroup_is_ours(top: Cgroup) -> None:
    """Claiming is the explicit word that a cgroup made by others may be changed."""
    (top.path / "given").mkdir()
    with top.child("given") as cgroup:
        assert not cgroup.owned
        cgroup.claim()
    top.remove("given")
    assert top.children() == []


def test_drain_moves_everything_even_what_forks(top: Cgroup) -> None:
    """Rounds follow until nothing is left, so that a fork during the move is not missed."""
    with (
        top.create("from") as source,
        top.create("to") as target,
        process(FORKS_WITHOUT_END) as forks,
        process() as sleeps,
    ):
        source.place(forks.pid)
        source.place(sleeps.pid)
        assert source.drain(target) >= 1
        assert source.procs() == []
        assert not source.events().populated
        assert sleeps.pid in target.procs()
        target.kill()
        assert target.wait_empty(120)


def test_freeze_stops_and_thaw_resumes(top: Cgroup) -> None:
    """A frozen process makes no progress; `events` says when all of it is frozen."""
    code = "while True: pass"
    with top.create("leaf") as leaf, process(code) as child:
        leaf.place(child.pid)
        leaf.freeze(True)
        until(lambda: leaf.events().frozen)

        def stands_still() -> bool:
            before = leaf.usage().cpu_stat.usage_us
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.1)
            return bool(leaf.usage().cpu_stat.usage_us == before)

        until(stands_still)  # what it did just before it stopped may be counted a little later
        before = leaf.usage().cpu_stat.usage_us
        leaf.freeze(False)
        until(lambda: leaf.usage().cpu_stat.usage_us > before)


def test_a_frozen_cgroup_can_be_killed(top: Cgroup) -> None:
    """SIGKILL works on frozen processes, so nothing has to be thawed first."""
    with top.create("leaf") as leaf, process() as child:
        leaf.place(child.pid)
        leaf.freeze(True)
        until(lambda: leaf.events().frozen)
        top.remove_tree("leaf")
        assert child.wait() == -signal.SIGKILL


def test_a_controller_that_is_not_there_is_named(top: Cgroup) -> None:
    """Unknown to cgroup v2 here: the error says so instead of the kernel's bare ENOENT."""
    with pytest.raises(ControllerMissing, match="not on cgroup v2 at all"):
        top.enable(["hugetlb-of-no-kernel"])
    with pytest.raises(ControllerMissing, match="not on cgroup v2 at all"):
        require_controllers(top, ["hugetlb-of-no-kernel"])


def test_pressure_of_a_cgroup(top: Cgroup) -> None:
    """PSI is accounted per cgroup without any controller."""
    psi = top.pressure("memory")
    assert psi is not None
    assert psi.full is not None
    assert psi.some.total_us == 0


def test_depth_that_the_parent_forbids(top: Cgroup) -> None:
    """The bound that stops creation is named."""
    top.write("cgroup.max.descendants", "0")
    with pytest.raises(CgroupError, match=r"cgroup\.max\.descendants"):
        top.create("leaf")


def test_no_access_without_rights(top: Cgroup) -> None:
    """Another user's attempt names delegation as the way."""

    def attempt() -> None:
        os.setuid(65534)
        with Cgroup.open(top.path) as cgroup:
            try:
                cgroup.create("leaf")
            except CgroupError as error:
                os._exit(42 if "Delegate=yes" in error.remedy else 43)

    assert exit_status(attempt) == 42
