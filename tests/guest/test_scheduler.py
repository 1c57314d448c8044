# SPDX-License-Identifier: Apache-2.0
"""The sched_ext scheduler: loaded, in charge, and out again however its holder ends.

On a kernel without sched_ext every test shows the documented fallback instead: a refusal that
says what is missing, and the kernel's own scheduler.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.bpf.scheduler import (
    STRETCH_NS,
    CpuUse,
    Scheduler,
    absence,
    loaded,
)
from agentcg.cgroups import Cgroup, Limits
from agentcg.errors import BpfError
from cgroup_support import own_cgroup, until
from daemon_support import fresh
from scheduler_support import (
    PATIENCE_S,
    THERE,
    busy,
    control,
    cpu_us,
    daemon_with,
    holder,
    real_time_hog,
    replug_a_cpu,
    times_loaded,
)

# A child in each of the cgroups that are given.
CROWD = """
import os, sys, time
def compute(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
for place in sys.argv[1:]:
    if not os.fork():
        open(place + "/cgroup.procs", "w").write("0")
        while True: {code}
os.wait()
"""


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Scheduler | None]:
    """The scheduler in charge (loading takes seconds under emulation: once for several tests);
    None where the kernel has no sched_ext, which it must say."""
    if not THERE:
        with pytest.raises(BpfError, match=r"no sched_ext.*CONFIG_SCHED_CLASS_EXT"):
            Scheduler.open()
        yield None
        return
    with Scheduler.open() as opened:
        yield opened


def test_weights_are_followed(scheduler: Scheduler | None) -> None:
    """Of two cgroups that want more than there is, the one of three times the weight gets more."""
    with own_cgroup() as parent:
        parent.enable(["cpu"])
        with parent.create("light") as light, parent.create("heavy") as heavy:
            light.apply(Limits(cpu_weight=100))
            heavy.apply(Limits(cpu_weight=300))
            with busy(light, 2), busy(heavy, 2):
                until(lambda: min(cpu_us(light), cpu_us(heavy)) > 300_000, PATIENCE_S)
                before = cpu_us(light), cpu_us(heavy)
                until(lambda: cpu_us(light) - before[0] > 800_000, PATIENCE_S)
                used = cpu_us(light) - before[0], cpu_us(heavy) - before[1]
                assert used[1] > 1.2 * used[0] > 0
                if scheduler is not None:
                    use = scheduler.cpu_use(heavy.id)
                    assert use is not None
                    assert use.run_ns / 1000 >= used[1]


def use_of(scheduler: Scheduler, cgroup: Cgroup) -> CpuUse:
    use = scheduler.cpu_use(cgroup.id)
    assert use is not None
    return use


def boosts_during(scheduler: Scheduler, cgroup: Cgroup, run_ns: int) -> int:
    """How many boosts it gets while it has so much more CPU time."""
    before = use_of(scheduler, cgroup)
    until(lambda: use_of(scheduler, cgroup).run_ns - before.run_ns > run_ns, PATIENCE_S)
    return use_of(scheduler, cgroup).boosts - before.boosts


def test_a_new_cgroup_goes_ahead_and_a_favoured_one_again_and_again(
    scheduler: Scheduler | None,
) -> None:
    """What computes without end is boosted in its first 20 ms, and then no more; if it is favoured,
    or a cgroup above it, it is again, until it is not favoured any more."""
    if scheduler is None:
        return
    long_ns = 10 * STRETCH_NS
    with own_cgroup() as parent:
        parent.enable(["cpu"])
        with parent.create("call") as call, busy(call, 1):
            boosts_during(scheduler, call, long_ns)
            assert use_of(scheduler, call).boosts > 0
            until(lambda: boosts_during(scheduler, call, long_ns) == 0, PATIENCE_S)
            scheduler.favour(parent.id, True)
            until(lambda: boosts_during(scheduler, call, long_ns) > 0, PATIENCE_S)
            scheduler.favour(parent.id, False)
            until(lambda: boosts_during(scheduler, call, long_ns) == 0, PATIENCE_S)


@contextlib.contextmanager
def many_beside_one(code: str) -> Iterator[tuple[Cgroup, Cgroup, list[Cgroup]]]:
    """A cgroup of the most weight that wants both CPUs, and one of the least with twenty below it,
    each with a process that runs `code` again and again."""
    with own_cgroup() as parent, contextlib.ExitStack() as stack:
        parent.enable(["cpu"])
        heavy, light = (stack.enter_context(parent.create(n)) for n in ("heavy", "light"))
        heavy.apply(Limits(cpu_weight=10000))
        light.apply(Limits(cpu_weight=1))
        light.enable(["cpu"])
        many = [stack.enter_context(light.create(f"c{n}")) for n in range(20)]
        command = [sys.executable, "-I", "-S", "-c", CROWD.format(code=code)]
        command += [str(one.path) for one in many]
        child = stack.enter_context(subprocess.Popen(command))
        stack.callback(child.kill)
        until(lambda: all((one.path / "cgroup.procs").read_text() for one in many), PATIENCE_S)
        with busy(heavy, 2):
            yield heavy, light, many
        light.kill()


def test_favoured_cgroups_do_not_starve_others(scheduler: Scheduler | None) -> None:
    """Twenty of them that wake all the time leave most of the CPUs to the one that weighs most:
    boosts are a part of each CPU's time, however many ask for them."""
    if scheduler is None:
        return
    with many_beside_one("compute(0.005); time.sleep(0.005)") as (heavy, light, _):
        scheduler.favour(light.id, True)
        before = cpu_us(heavy), cpu_us(light)
        until(lambda: cpu_us(light) - before[1] > 300_000, PATIENCE_S)
        assert cpu_us(heavy) - before[0] > 2 * (cpu_us(light) - before[1])
        scheduler.favour(light.id, False)


def test_however_little_a_cgroup_weighs_it_runs(scheduler: Scheduler | None) -> None:
    """A twentieth of the weight 1 beside the weight 10000 is a turn in minutes, and what waits may
    hold a lock: within seconds all of them have a turn, when their first stretch is over."""
    if scheduler is None:
        return
    with many_beside_one("compute(1)") as (_, _, many):

        def run_of(cgroup: Cgroup) -> int:
            return use_of(scheduler, cgroup).run_ns

        until(lambda: all(run_of(one) > STRETCH_NS for one in many), PATIENCE_S)
        before = {one: run_of(one) for one in many}
        until(lambda: all(run_of(one) > before[one] for one in many), PATIENCE_S)
    assert scheduler.ended() == ""


@pytest.mark.parametrize("depth", [0, 40])
def test_cgroups_come_and_go(scheduler: Scheduler | None, depth: int) -> None:
    """Deep and short-lived cgroups work as always, and what they took is given back."""
    before = None if scheduler is None else scheduler.stats().nodes
    for _ in range(8):
        with own_cgroup() as parent:
            parent.enable(["cpu"])
            path = parent.path
            for level in range(depth):
                path = path / f"d{level}"
                path.mkdir()
                (path / "cgroup.subtree_control").write_text("+cpu")
            (path / "leaf").mkdir()
            with Cgroup.open(path / "leaf") as leaf, busy(leaf, 1):
                until(lambda leaf=leaf: cpu_us(leaf) > 0, PATIENCE_S)
    if scheduler is not None and before is not None:
        until(lambda: scheduler.stats().nodes <= before, PATIENCE_S)
        assert scheduler.ended() == ""


def test_no_task_waits_for_a_real_time_task_beside_an_idle_cpu(
    scheduler: Scheduler | None,
) -> None:
    """What a real-time task interrupts, and what was to run next there, goes on elsewhere: two
    tasks get on beside one that takes a CPU for good."""
    if scheduler is None:
        return
    with own_cgroup() as parent, contextlib.ExitStack() as stack:
        parent.enable(["cpu"])
        tasks = [stack.enter_context(parent.create(f"task{n}")) for n in range(2)]
        for task in tasks:
            stack.enter_context(busy(task, 1))
        until(lambda: min(map(cpu_us, tasks)) > 200_000, PATIENCE_S)
        with real_time_hog(1):
            before = {task: cpu_us(task) for task in tasks}

            def get_on() -> bool:
                return all(cpu_us(task) > us + 200_000 for task, us in before.items())

            until(lambda: get_on() or scheduler.ended(), PATIENCE_S)
            assert scheduler.ended() == ""
        assert scheduler.stats().evicted > 0


def test_turns_of_a_cgroup_are_traced(scheduler: Scheduler | None) -> None:
    """Each turn of its tasks and of those below it is an event, of others none; if nobody reads
    them the ring is full, which is counted and holds nobody up; at the end there are no more."""
    if scheduler is None:
        return
    with own_cgroup() as traced, own_cgroup() as other:
        traced.enable(["cpu"])
        with (
            traced.create("call") as call,
            busy(call, 2, "time.sleep(0.0001)"),
            busy(other, 1, "time.sleep(0.0001)"),
        ):
            scheduler.turns.trace(traced.id)
            until(lambda: scheduler.stats().events_lost > 100, PATIENCE_S)
            found = scheduler.turns.read()
            assert len(found) > 1000
            assert {turn.cgroup_id for turn in found} == {call.id}
            assert len({turn.pid for turn in found}) == 2
            assert max(turn.ran_ns for turn in found) > 0
            until(scheduler.turns.read, PATIENCE_S)
            scheduler.turns.trace(None)
            used = cpu_us(other)
            until(lambda: cpu_us(other) > used + 100_000, PATIENCE_S)
            assert scheduler.turns.read() == []


def test_cpu_max_is_honoured(scheduler: Scheduler | None) -> None:
    """A fifth of a CPU is what a cgroup gets whose cpu.max says so, though its tasks want more and
    CPUs are idle; less where a cgroup below it may have less; all there is, when it is lifted."""
    with own_cgroup() as parent:
        parent.enable(["cpu"])
        (parent.path / "cpu.max").write_text("20000 100000")
        with parent.create("less") as less, parent.create("more") as more:
            (less.path / "cpu.max").write_text("2000 50000")
            with busy(less, 2), busy(more, 2):
                until(lambda: cpu_us(parent) > 400_000, PATIENCE_S)
                before, began = (cpu_us(parent), cpu_us(less)), time.monotonic()
                until(lambda: cpu_us(parent) - before[0] > 400_000, PATIENCE_S)
                took_us = (time.monotonic() - began) * 1_000_000
                assert took_us > 0.7 * 400_000 / 0.2
                assert cpu_us(less) - before[1] < 0.08 * took_us
                (parent.path / "cpu.max").write_text("max")
                before, began = (cpu_us(parent), cpu_us(less)), time.monotonic()
                until(lambda: cpu_us(parent) - before[0] > 4_000_000, PATIENCE_S)
                took_us = (time.monotonic() - began) * 1_000_000
                assert took_us < 0.7 * 4_000_000 / 0.2
    if scheduler is not None:
        assert scheduler.unbounded() == 0
        assert scheduler.ended() == ""


def test_cpu_max_is_counted(scheduler: Scheduler | None) -> None:
    """A cgroup with cpu.max is known, until it is gone."""
    if scheduler is None:
        return

    def known() -> int:
        return scheduler.stats().bandwidths

    until(lambda: known() == 0, PATIENCE_S)  # those of other tests go when the kernel gets to it
    with own_cgroup() as bounded:
        (bounded.path / "cpu.max").write_text("50000 100000")
        assert known() == 1
        (bounded.path / "cpu.max").write_text("max")
        assert known() == 0
        (bounded.path / "cpu.max").write_text("50000 100000")
    until(lambda: known() == 0, PATIENCE_S)


def test_it_is_in_charge_until_it_is_closed(scheduler: Scheduler | None) -> None:
    """It has run all the tests above under the name agentcg, without a fault; closed, the kernel's
    own scheduler is back."""
    if scheduler is None:
        assert loaded() is None
        assert absence()
        return
    assert loaded() == "agentcg"
    subprocess.run([sys.executable, "-c", "print(sum(range(100000)))"], check=True)
    assert scheduler.stats().nodes > 1
    assert scheduler.ended() == ""
    scheduler.close()
    assert loaded() is None


def test_another_is_refused_and_a_killed_holder_leaves_the_kernels_own() -> None:
    """Where a scheduler is loaded, ours is refused, names it, and the other goes on. SIGSTOP of
    the process that loaded it changes nothing; SIGKILL: the kernel's own is back, nothing stays."""
    with holder() as child:
        if not THERE:
            assert child.wait() == 1
            return
        with pytest.raises(BpfError, match="another sched_ext scheduler is loaded: agentcg"):
            Scheduler.open()
        child.send_signal(signal.SIGSTOP)
        subprocess.run([sys.executable, "-c", "print(sum(range(100000)))"], check=True)
        assert loaded() == "agentcg"
        child.kill()
        child.wait()
        until(lambda: loaded() is None, PATIENCE_S)


def test_sysrq_takes_it_out_and_the_reason_is_read() -> None:
    """SysRq-S, the operator's emergency exit: the handle knows the reason, and that it is none of
    its own faults."""
    if not THERE:
        Path("/proc/sysrq-trigger").write_text("S")
        assert loaded() is None
        return
    with Scheduler.open(delays=False) as scheduler:
        Path("/proc/sysrq-trigger").write_text("S")
        until(lambda: scheduler.ended() != "", PATIENCE_S)
        assert "sysrq" in scheduler.ended().lower()
        assert not scheduler.failed()
        until(lambda: loaded() is None, PATIENCE_S)


def test_the_watchdog_takes_it_out_and_the_reason_is_read() -> None:
    """A task that may run on one CPU alone, of which a real-time task leaves it nothing: after some
    20 s the kernel's own scheduler is back, and the handle knows that it was a fault, and which."""
    if not THERE:
        return
    pinned = "__import__('os').sched_setaffinity(0, {1})"
    with own_cgroup() as cgroup, Scheduler.open() as scheduler, busy(cgroup, 1, pinned):
        with real_time_hog(1):
            until(lambda: loaded() is None, PATIENCE_S)
        assert "stall" in scheduler.ended()
        assert scheduler.failed()


def test_the_daemon_loads_it_by_itself_and_says_so() -> None:
    """Without being asked, with the capabilities of the unit: doctor shows it in force; where it
    cannot be, why, and nothing else changes. When a CPU comes
    or goes, which ends it, it is loaded again. It goes with the daemon."""
    with daemon_with("--bpf off") as daemon:
        if THERE:
            until(lambda: control(daemon)["state"] == "enforced", PATIENCE_S)
            assert loaded() == "agentcg"
            before = times_loaded()
            replug_a_cpu()
            until(lambda: times_loaded() > before, PATIENCE_S)
            until(lambda: control(daemon)["state"] == "enforced", PATIENCE_S)
        else:
            until(lambda: "no sched_ext" in control(daemon)["detail"], PATIENCE_S)
            assert control(daemon)["state"] == "off"
        name = fresh()
        daemon.open(name)
        assert daemon.begin(name)["grant"]
        daemon.good("DELETE", f"/v1/sessions/{name}?kill=true")
    assert loaded() is None
