# SPDX-License-Identifier: Apache-2.0
"""What the scheduler and memory delay do with too much, with nonsense, and with what is gone.

On a kernel without sched_ext there is nothing to load: `test_scheduler.py` shows what is said.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from ctypes import c_uint32, c_uint64

import pytest

from agentcg.bpf.budgets import MAX_DELAY_NS, BudgetMaps
from agentcg.bpf.memory_delay import MemoryDelay
from agentcg.bpf.scheduler import Scheduler
from agentcg.cgroups import Cgroup
from agentcg.errors import BpfError
from cgroup_support import let_go, own_cgroup, spawn_same_pid, until, waiting
from scheduler_support import PATIENCE_S, THERE

MIB = 1 << 20
MS = 1_000_000
HOUR_NS = 3_600_000_000_000
SOFT_BYTES = 8 * MIB
WORKS = 4 * BudgetMaps.MOST
MOST_FAVOURED = 16384
NO_ID, NO_PID = 1 << 40, 1 << 30  # larger than any that there is
# As much as is said, again and again, and a line each time that it is there.
TAKE = """
while True:
    x = bytearray(b"x" * ({mib} << 20))
    print("full", flush=True)
"""


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Scheduler | None]:
    """The scheduler in charge; None on a kernel without sched_ext."""
    if not THERE:
        yield None
        return
    with Scheduler.open() as opened:
        yield opened
        assert opened.ended() == ""


def delay_of(scheduler: Scheduler) -> MemoryDelay:
    assert scheduler.memory_delay is not None
    return scheduler.memory_delay


@contextlib.contextmanager
def taking(cgroup: Cgroup, mib: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the cgroup that takes so much again and again."""
    with waiting(TAKE.format(mib=mib)) as child:
        cgroup.place(child.pid)
        let_go(child)
        yield child


def entries(scheduler: Scheduler) -> dict[str, int]:
    """Of the maps that grow by what is asked for, not with the host's cgroups."""
    return {name: count for name, count in scheduler.entries().items() if name != "slots"}


def gets_there(child: subprocess.Popen[bytes]) -> bool:
    """It holds all that it wants, once more."""
    assert child.stdout is not None
    return child.stdout.readline() == b"full\n"


def count_of(scheduler: Scheduler, cgroup: Cgroup) -> int:
    """How often somebody was delayed by its budget, which goes on to hold."""
    delay_of(scheduler).heartbeat()
    found = delay_of(scheduler).delays(cgroup.id)
    assert found is not None
    return found.count


def test_when_there_is_no_room_for_a_budget_the_others_hold(scheduler: Scheduler | None) -> None:
    """The most that there can be is named, and the one that was refused is not there by half; those
    that are there delay, and one that is cleared makes room for another."""
    if scheduler is None:
        return
    delay, before = delay_of(scheduler), entries(scheduler)
    with own_cgroup() as cgroup:
        delay.set(cgroup.id, SOFT_BYTES, 0, "low", 20 * MS)
        made = delay.MOST - 1
        for number in range(made):
            delay.set(NO_ID + number, SOFT_BYTES, 0, "low")
        with pytest.raises(BpfError, match=rf"no budget for cgroup.*{delay.MOST} budgets are the"):
            delay.set(NO_ID + made, SOFT_BYTES, 0, "low")
        assert delay.delays(NO_ID + made) is None
        with taking(cgroup, 16):
            until(lambda: count_of(scheduler, cgroup) > 0, PATIENCE_S)
        delay.clear(NO_ID)
        delay.set(NO_ID + made, SOFT_BYTES, 0, "low")
        for number in range(made + 1):
            delay.clear(NO_ID + number)
        delay.clear(cgroup.id)
    until(lambda: entries(scheduler) == before, PATIENCE_S)


def test_when_there_is_no_room_for_a_favour_it_is_said(scheduler: Scheduler | None) -> None:
    """Whose favour was refused is named; those that are there can be withdrawn."""
    if scheduler is None:
        return
    for number in range(MOST_FAVOURED):
        scheduler.favour(NO_ID + number, True)
    with pytest.raises(BpfError, match=f"cgroup {NO_ID + MOST_FAVOURED} is not favoured: "):
        scheduler.favour(NO_ID + MOST_FAVOURED, True)
    for number in range(MOST_FAVOURED):
        scheduler.favour(NO_ID + number, False)
    assert scheduler.entries()["favoured"] == 0


def test_when_there_is_no_room_for_a_delay_the_task_goes_on(scheduler: Scheduler | None) -> None:
    """It is counted, and nobody is held up; whoever has been delayed before is delayed again."""
    if scheduler is None:
        return
    delay = delay_of(scheduler)
    with (
        own_cgroup() as cgroup,
        scheduler._object.map("works", c_uint32, c_uint64) as works,
        contextlib.ExitStack() as stack,
    ):
        delay.set(cgroup.id, SOFT_BYTES, 0, "low", 20 * MS)
        stack.enter_context(taking(cgroup, 16))
        until(lambda: count_of(scheduler, cgroup) > 0, PATIENCE_S)
        filled = 0
        with contextlib.suppress(OSError):
            while filled <= WORKS:
                works.put(NO_PID + filled, c_uint64(0))
                filled += 1
        refused = scheduler.stats().delays_refused
        with own_cgroup() as other:
            delay.set(other.id, SOFT_BYTES, 0, "low", MAX_DELAY_NS)
            with taking(other, 64) as child:
                assert gets_there(child)
            assert count_of(scheduler, other) == 0
            delay.clear(other.id)
        assert scheduler.stats().delays_refused > refused
        seen = count_of(scheduler, cgroup)
        until(lambda: count_of(scheduler, cgroup) > seen, PATIENCE_S)
        for number in range(filled):
            works.remove(NO_PID + number)
        delay.clear(cgroup.id)


@pytest.mark.parametrize(("asked_ns", "most_ns"), [(0, 0), (HOUR_NS, MAX_DELAY_NS)])
def test_a_delay_is_nothing_to_two_seconds(
    scheduler: Scheduler | None, caplog: pytest.LogCaptureFixture, asked_ns: int, most_ns: int
) -> None:
    """Of nothing: nobody waits. Of an hour: two seconds, and the log says that."""
    if scheduler is None:
        return
    delay = delay_of(scheduler)
    with own_cgroup() as cgroup:
        delay.set(cgroup.id, SOFT_BYTES, 0, "low", asked_ns)
        assert ("a delay of 3600 s is taken as 2 s" in caplog.text) is (asked_ns > most_ns)
        with taking(cgroup, 16) as child:
            if not asked_ns:
                assert gets_there(child)
            else:
                until(lambda: count_of(scheduler, cgroup) > 0, PATIENCE_S)
        account = delay.clear(cgroup.id)
        assert account is not None
        assert account.longest_ns >= most_ns // 2  # until it is off the CPU is part of it
        assert (account.count > 0) is (asked_ns > 0)


def test_a_cgroup_that_has_vanished_leaves_nothing(scheduler: Scheduler | None) -> None:
    """Its budget and its favour are still there to be withdrawn, with what they led to; what is
    asked about it is answered by nothing."""
    if scheduler is None:
        return
    delay, before = delay_of(scheduler), entries(scheduler)
    with own_cgroup() as cgroup:
        gone = cgroup.id
        delay.set(gone, SOFT_BYTES, 0, "low", 20 * MS)
        scheduler.favour(gone, True)
        with taking(cgroup, 16):
            until(lambda: count_of(scheduler, cgroup) > 0, PATIENCE_S)
    until(lambda: scheduler.cpu_use(gone) is None, PATIENCE_S)
    account = delay.clear(gone)
    assert account is not None
    assert account.count > 0
    assert (delay.clear(gone), delay.delays(gone)) == (None, None)
    scheduler.favour(gone, False)
    scheduler.favour(gone, False)
    delay.set(gone, SOFT_BYTES, 0, "low")  # as by who has not heard yet
    delay.clear(gone)
    until(lambda: entries(scheduler) == before, PATIENCE_S)


@pytest.fixture
def grows_when_told() -> Iterator[None]:
    """What is forked meanwhile takes memory at SIGUSR1."""
    was = signal.signal(signal.SIGUSR1, lambda *_: bytearray(b"x" * (64 * MIB)) and None)
    yield
    signal.signal(signal.SIGUSR1, was)


@pytest.mark.usefixtures("grows_when_told")
def test_a_task_with_the_number_of_one_that_was_delayed_is_delayed(
    scheduler: Scheduler | None,
) -> None:
    """What there was of the other is gone with it."""
    if scheduler is None:
        return
    delay = delay_of(scheduler)
    with own_cgroup() as cgroup, scheduler._object.map("works", c_uint32, c_uint64) as works:
        delay.set(cgroup.id, SOFT_BYTES, 0, "low", 20 * MS)
        with taking(cgroup, 16) as child:
            until(lambda: count_of(scheduler, cgroup) > 0, PATIENCE_S)
            pid = child.pid
        until(lambda: pid not in set(works.keys()), PATIENCE_S)
        seen = count_of(scheduler, cgroup)
        other = spawn_same_pid(pid)
        try:
            cgroup.place(other)
            os.kill(other, signal.SIGUSR1)
            until(lambda: count_of(scheduler, cgroup) > seen, PATIENCE_S)
        finally:
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)
        delay.clear(cgroup.id)


@pytest.mark.parametrize("weight", ["0", "10001", "-1", "x"])
def test_a_weight_out_of_range_is_refused(scheduler: Scheduler | None, weight: str) -> None:
    """By the kernel, which passes none on; the one that was there counts."""
    with own_cgroup() as cgroup:
        (cgroup.path / "cpu.weight").write_text("300")
        with pytest.raises(OSError, match=r"Invalid argument|out of range"):
            (cgroup.path / "cpu.weight").write_text(weight)
        assert (cgroup.path / "cpu.weight").read_text() == "300\n"
        if scheduler is not None:
            slot = scheduler._slots.get(cgroup.id)
            assert slot is not None
            node = scheduler._nodes.get(int(slot.value))
            assert node is not None
            assert node.weight == 300


def test_a_full_ring_of_delays_holds_nobody_up(scheduler: Scheduler | None) -> None:
    """If nobody reads them, events are lost, which is counted; delays go on, and who reads again
    finds the ones that there was room for."""
    if scheduler is None:
        return
    delay = delay_of(scheduler)
    with own_cgroup() as cgroup:
        delay.events()
        delay.set(cgroup.id, SOFT_BYTES, 0, "low", MS // 5)
        delay.trace(cgroup.id, True)
        lost = scheduler.stats().events_lost

        def is_full() -> bool:
            delay.heartbeat()
            return scheduler.stats().events_lost > lost

        with taking(cgroup, 64):
            until(is_full, PATIENCE_S)
            seen = count_of(scheduler, cgroup)
            until(lambda: count_of(scheduler, cgroup) > seen, PATIENCE_S)
            found = delay.events()
            assert len(found) > 1000
            assert {one.cgroup_id for one in found} == {cgroup.id}
            until(delay.events, PATIENCE_S)
        delay.clear(cgroup.id)
