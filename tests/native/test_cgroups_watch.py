# SPDX-License-Identifier: Apache-2.0
"""Notifications of the real kernel: `cgroup.events` and PSI triggers through one epoll."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from agentcg.cgroups import Cgroup, Watcher
from agentcg.errors import CgroupError, CgroupGone, InvalidInput
from cgroup_support import own_cgroup, process, until

# Waits until it is placed: a child that it forked before would escape the test's cgroup. On one
# CPU, so that they are in each other's way however many there are.
BURNS = """
import os, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
while "/agentcg-test-" not in open("/proc/self/cgroup").read():
    time.sleep(0.01)
for _ in range(7):
    if not os.fork():
        break
while True:
    pass
"""


@pytest.fixture
def top() -> Iterator[Cgroup]:
    """A cgroup of this test alone."""
    with own_cgroup() as cgroup:
        yield cgroup


@pytest.fixture
def watcher() -> Iterator[Watcher[str]]:
    """A watcher of this test alone."""
    with Watcher[str]() as one:
        yield one


def wait_for(watcher: Watcher[str], timeout_s: float = 120.0) -> list[str]:
    """The next tokens, as an event loop would get them: when the descriptor is readable."""
    ready, _, _ = select.select([watcher.fileno()], [], [], timeout_s)
    assert ready, "nothing was reported"
    return watcher.poll()


def test_the_end_of_the_last_process_is_reported(top: Cgroup, watcher: Watcher[str]) -> None:
    """This is how a call that empties is noticed: once, and by its own token."""
    with top.create("a") as a, top.create("b") as b, process() as child:
        watcher.watch(a, "a")
        watcher.watch(b, "b")
        assert watcher.poll() == []
        a.place(child.pid)
        assert wait_for(watcher) == ["a"]
        assert a.events().populated
        child.kill()
        child.wait()
        assert wait_for(watcher) == ["a"]
        assert not a.events().populated
        assert watcher.poll() == []


def test_freezing_is_reported(top: Cgroup, watcher: Watcher[str]) -> None:
    """When all processes are frozen, `frozen` changes and the token comes."""
    with top.create("a") as a, process() as child:
        a.place(child.pid)
        watcher.watch(a, "a")
        a.freeze(True)
        assert wait_for(watcher) == ["a"]
        assert a.events().frozen


def test_what_is_forgotten_is_silent(top: Cgroup, watcher: Watcher[str]) -> None:
    """Forgetting closes the descriptors, and forgetting what is not watched is fine."""
    with top.create("a") as a, process() as child:
        watcher.watch(a, "a")
        watcher.trigger(a, "cpu", "some", 100_000, 2_000_000, "a")
        assert len(watcher) == 2
        watcher.forget("a")
        watcher.forget("a")
        assert len(watcher) == 0
        a.place(child.pid)
        until(lambda: a.events().populated)
        assert select.select([watcher.fileno()], [], [], 0.1)[0] == []


def test_a_removed_cgroup_leaves_nothing_behind(top: Cgroup, watcher: Watcher[str]) -> None:
    """After the last report of a removed cgroup its descriptor is given back by itself."""
    with top.create("a") as a, process() as child:
        a.place(child.pid)
        watcher.watch(a, "a")
        child.kill()
        child.wait()
        select.select([watcher.fileno()], [], [], 120)
        top.remove("a")
        assert watcher.poll() == ["a"]
        assert watcher.poll() == []
        assert len(watcher) == 0
        with pytest.raises(CgroupGone):
            watcher.watch(a, "a")


def test_many_changes_come_in_batches(top: Cgroup, watcher: Watcher[str]) -> None:
    """However many changed, each token comes, and no poll is without bound."""
    names = [f"c{number}" for number in range(300)]
    for name in names:
        with top.create(name) as cgroup:
            watcher.watch(cgroup, name)
            cgroup.write("cgroup.freeze", "1")
    batches: list[list[str]] = []

    def all_there() -> bool:
        batches.append(watcher.poll())
        return {token for batch in batches for token in batch} == set(names)

    until(all_there)
    assert max(map(len, batches)) <= 256


def test_a_pressure_trigger_fires(top: Cgroup, watcher: Watcher[str]) -> None:
    """Processes that share a processor make CPU pressure; each window is reported, also
    to who looks at the watcher's descriptor first, as event loops do."""
    with top.create("a") as a, process(BURNS) as child:
        watcher.trigger(a, "cpu", "some", 50_000, 2_000_000, "pressure")
        assert wait_for(watcher) == []  # an event loop may wake up once for the registration
        a.place(child.pid)
        for _ in range(2):
            assert wait_for(watcher) == ["pressure"]
            assert watcher.poll() == []
        psi = a.pressure("cpu")
        assert psi is not None
        assert psi.some.total_us >= 50_000
        a.kill()


def test_a_trigger_of_a_removed_cgroup_is_given_back(top: Cgroup, watcher: Watcher[str]) -> None:
    """Removal ends the trigger: one last report, then its descriptor is closed."""
    top.create("a").close()
    with top.child("a") as a:
        watcher.trigger(a, "memory", "some", 100_000, 2_000_000, "a")
    assert watcher.poll() == []
    top.remove("a")
    assert wait_for(watcher) == ["a"]
    assert len(watcher) == 0


def test_a_trigger_of_the_host(watcher: Watcher[str]) -> None:
    """`None` stands for the host, whose pressure files are in /proc."""
    watcher.trigger(None, "memory", "full", 100_000, 2_000_000, "host")
    assert len(watcher) == 1
    assert watcher.poll() == []


@pytest.mark.parametrize(
    ("stall_us", "window_us"),
    [(1, 499_999), (1, 10_000_001), (0, 1_000_000), (2_000_000, 1_000_000)],
)
def test_a_trigger_out_of_range_is_refused(
    top: Cgroup, watcher: Watcher[str], stall_us: int, window_us: int
) -> None:
    """The kernel's bounds are checked first, so that the error can name them."""
    with pytest.raises(InvalidInput):
        watcher.trigger(top, "memory", "some", stall_us, window_us, "t")
    assert len(watcher) == 0


def test_a_trigger_where_pressure_is_off(top: Cgroup, watcher: Watcher[str]) -> None:
    """A cgroup whose pressure accounting is off has no file to set a trigger on."""
    top.write("cgroup.pressure", "0")
    assert top.pressure("memory") is None
    with pytest.raises(CgroupError):
        watcher.trigger(top, "memory", "some", 100_000, 2_000_000, "t")
    assert len(watcher) == 0
