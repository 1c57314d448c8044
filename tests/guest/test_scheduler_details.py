# SPDX-License-Identifier: Apache-2.0
"""The scheduler in particulars: nice levels, many cgroups, and room for them that comes to an end.

On a kernel without sched_ext there is nothing to load: `test_scheduler.py` shows what is said.
"""

from __future__ import annotations

from ctypes import c_uint32
from pathlib import Path

from agentcg.bpf.scheduler import CpuUse, Scheduler
from agentcg.cgroups import Limits
from agentcg.daemon.bench import loads
from agentcg.daemon.bench.loads import bench
from cgroup_support import own_cgroup, process, until
from scheduler_support import PATIENCE_S, THERE, busy, cpu_us

MAX_SLOTS = 16384
CROWD = 200
# Wakes a child in `light`, which is bound to a CPU, and then computes for longer than that one.
WAKER = """
import os, time
def compute(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end: pass
there = os.pipe()
if not os.fork():
    os.close(there[1])
    os.sched_setaffinity(0, {{0}})
    with open({light!r} + '/cgroup.procs', 'w') as file: file.write('0')
    while os.read(there[0], 4096): compute(0.002)
    os._exit(0)
while True:
    time.sleep(0.02)
    os.write(there[1], b'x')
    compute(0.005)
"""
NICE = "__import__('os').setpriority(0, 0, 10)"  # again and again, which is what it does


def test_nice_levels_count_within_a_cgroup() -> None:
    """Of tasks that want more than there is, those of nice 10 get a ninth of what others get; here
    less than a third."""
    if not THERE:
        return
    with Scheduler.open() as scheduler, own_cgroup() as cgroup:
        with busy(cgroup, 2), busy(cgroup, 2, NICE):
            pids = [int(pid) for pid in (cgroup.path / "cgroup.procs").read_text().split()]
            until(lambda: sorted(map(nice_of, pids)) == [0, 0, 10, 10], PATIENCE_S)
            before = ticks(pids)
            until(lambda: ticks(pids)[10] > before[10] + 30, PATIENCE_S)
            used = {nice: ticks(pids)[nice] - before[nice] for nice in before}
        assert used[0] > 3 * used[10]
        assert scheduler.ended() == ""


def stat_of(pid: int) -> list[str]:
    """Of proc_pid_stat(5), from the third field on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def nice_of(pid: int) -> int:
    return int(stat_of(pid)[16])


def ticks(pids: list[int]) -> dict[int, int]:
    """Hundredths of a second of CPU time, by nice level."""
    return {
        nice: sum(int(stat_of(pid)[n]) for pid in pids if nice_of(pid) == nice for n in (11, 12))
        for nice in (0, 10)
    }


def test_beside_a_crowd_of_cgroups_a_heavy_one_has_its_part_all_along() -> None:
    """Not by turns of seconds, as by virtual time alone: in each half second from 20 to 80 of 100
    where half of all is its part."""
    if not THERE:
        return
    with Scheduler.open() as scheduler, bench() as b:
        steady, other = b.below(b.cgroup, "steady"), b.below(b.cgroup, "other")
        places = [str(b.below(other, f"c{n}").path) for n in range(CROWD)]
        crowd = b.load(loads.CROWD.format(places=places), steady)
        for one in (*b.load(loads.BUSY, steady, 2), *crowd):
            one.go()
        until(lambda: min(cpu_us(steady), cpu_us(other)) > 2_000_000, PATIENCE_S)
        found = [loads.shares([steady, other], 0.5)[0] for _ in range(8)]
        assert 20 < min(found) <= max(found) < 80, found
        assert scheduler.ended() == ""


def test_a_bound_task_does_not_wait_for_what_was_its_part_for_a_moment() -> None:
    """Woken and charged only while one of a thousand times its weight is awake, it has a thousandth
    of the machine then, and would wait for a second as soon as that one sleeps."""
    if not THERE:
        return
    with (
        Scheduler.open() as scheduler,
        own_cgroup() as light,
        own_cgroup() as other,
        own_cgroup() as heavy,
    ):
        light.apply(Limits(cpu_weight=10))
        heavy.apply(Limits(cpu_weight=10_000))
        with busy(other, 3), process(WAKER.format(light=str(light.path))) as waker:
            heavy.place(waker.pid)
            until(lambda: cpu_us(light) > 500_000, PATIENCE_S)
        use = scheduler.cpu_use(light.id)
        assert use is not None
        assert use.longest_wait_ns < 600_000_000
        assert scheduler.ended() == ""


def test_slots_are_used_again() -> None:
    """Where no slot is free a new cgroup counts as the one above it, and its tasks run all the
    same; one that is gone leaves its slot to the next, and not its record."""
    if not THERE:
        return
    with Scheduler.open() as scheduler, own_cgroup() as parent:
        parent.enable(["cpu"])
        made: list[str] = []

        def has_slot() -> bool:
            """Whether there is one for one more."""
            made.append(f"c{len(made)}")
            with parent.create(made[-1]) as new:
                return scheduler.cpu_use(new.id) is not None

        with parent.create("first") as first, busy(first, 1):
            first_id = first.id
            until(lambda: run_ns(scheduler, first_id) > 0, PATIENCE_S)
        with scheduler._object.map(".data.fresh", c_uint32, c_uint32) as fresh:
            fresh.put(0, c_uint32(MAX_SLOTS))  # as if each had been used before
        while has_slot():
            assert len(made) <= MAX_SLOTS
        with parent.child(made[-1]) as beyond, busy(beyond, 1):
            until(lambda: cpu_us(beyond) > 100_000, PATIENCE_S)
            assert scheduler.cpu_use(beyond.id) is None
        parent.remove_tree("first", timeout_s=PATIENCE_S)
        until(has_slot, PATIENCE_S)
        with parent.child(made[-1]) as new:
            assert scheduler.cpu_use(new.id) == CpuUse(0, 0, 0, 0, 0)
            with busy(new, 1):
                until(lambda: run_ns(scheduler, new.id) > 100_000_000, PATIENCE_S)
        assert scheduler.cpu_use(first_id) is None
        assert scheduler.ended() == ""


def run_ns(scheduler: Scheduler, cgroup_id: int) -> int:
    use = scheduler.cpu_use(cgroup_id)
    assert use is not None
    return use.run_ns
