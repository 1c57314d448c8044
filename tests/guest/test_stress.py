# SPDX-License-Identifier: Apache-2.0
"""The scheduler with memory delay in storms: nothing warns, no task waits for long, nothing is left
behind.

`make test-stress` runs each storm for five minutes, the guest tier for some seconds. On a
kernel without sched_ext there is nothing to load: `test_scheduler.py` shows what is said.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import stalls
from agentcg.bpf.scheduler import Scheduler, loaded
from agentcg.cgroups import Cgroup
from cgroup_support import own_cgroup, until
from scheduler_support import PATIENCE_S, THERE, holder, no_complaints, replug_a_cpu
from storms import KINDS, NAMES

SECONDS = float(os.environ.get("AGENTCG_STRESS_SECONDS", "8"))
STALL_S = 1.0 if SECONDS >= 60 else 5.0
"""What nobody may wait for. The short form, beside other work, looks for what hangs."""
NOTICED_S = 1.0
STORMS = Path(__file__).parents[1] / "storms.py"


@contextlib.contextmanager
def storms(seconds: float) -> Iterator[tuple[Cgroup, list[subprocess.Popen[str]]]]:
    """All kinds at once, on a tree of three cgroups. At the end each has done something."""
    with own_cgroup() as tree, contextlib.ExitStack() as stack:
        tree.enable(["cpu", "memory"])
        for name in NAMES:
            stack.enter_context(tree.create(name))
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-I", "-S", str(STORMS), kind, str(seconds), str(tree.path)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for kind in KINDS
        ]
        for one in running:
            stack.callback(one.kill)
        yield tree, running
        until(lambda: all(one.poll() is not None for one in running), seconds + PATIENCE_S)
        for kind, one in zip(KINDS, running, strict=True):
            assert one.stdout is not None
            assert int(one.stdout.read()) > 0, kind


def test_storms_leave_nothing_behind() -> None:
    """Forks, cgroups that come and go, weights, freezing, affinities, memory over a budget: the
    scheduler stays in charge, no task beside them waits for long, the kernel does not complain, the
    maps hold no more than before."""
    if not THERE:
        return
    with no_complaints(), Scheduler.open() as scheduler, no_stall() as high:
        assert scheduler.memory_delay is not None
        before = scheduler.entries()
        with storms(SECONDS) as (tree, running):
            low = tree.path / "b"
            low_id = low.stat().st_ino
            scheduler.memory_delay.set(low_id, 8 << 20, 0, "low", 100_000_000)
            scheduler.favour(tree.id, True)
            scheduler.favour(high.id, True)
            while any(one.poll() is None for one in running):
                scheduler.memory_delay.heartbeat()
                time.sleep(1)
            delays = scheduler.memory_delay.clear(low_id)
            assert delays is not None
            assert delays.count > 0
            scheduler.favour(tree.id, False)
            scheduler.favour(high.id, False)
        until(lambda: not is_more(scheduler.entries(), before), PATIENCE_S)
        assert scheduler.ended() == ""


class Watch:
    """Tasks that want to run for a moment every 20 ms, and how long one of them had to wait.

    One on each CPU, one on any, and one of an agent of high priority in `high`. `longest_s` and
    `said` are there when it is over.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.said: list[str] = []
        self.probes: dict[str, subprocess.Popen[str]] = {}
        self.witnesses: list[subprocess.Popen[str]] = []

    @contextlib.contextmanager
    def during(self, high: Cgroup | None = None) -> Iterator[memoryview]:
        """Until the end of the block; its witnesses' rounds."""
        cpus = sorted(os.sched_getaffinity(0))
        with tempfile.NamedTemporaryFile() as file, contextlib.ExitStack() as stack:
            clock = stalls.make(Path(file.name))

            def start(*words: object) -> subprocess.Popen[str]:
                command = [sys.executable, "-I", "-S", stalls.__file__, *map(str, words)]
                one = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                stack.enter_context(one)
                stack.callback(one.kill)
                return one

            self.witnesses = [start("witness", file.name, cpu) for cpu in cpus]
            until(lambda: all(clock[cpu] for cpu in cpus), PATIENCE_S)
            self.probes = {f"CPU {cpu}": start("probe", file.name, cpu) for cpu in cpus}
            self.probes["any CPU"] = start("probe", file.name)
            if high is not None:
                self.probes["high"] = start("probe", file.name)
                high.place(self.probes["high"].pid)
            for one in self.probes.values():
                assert one.stdout is not None
                assert one.stdout.readline() == "begun\n"
            yield clock
            clock[stalls.OVER] = 1
            for name, one in self.probes.items():
                rounds, overslept, overslept_ms = map(int, one.communicate()[0].split())
                self.longest_s = max(self.longest_s, overslept * stalls.PACE_S)
                self.said.append(
                    f"{name}: {rounds} rounds, waited {overslept * stalls.PACE_S:.2f} s at most "
                    f"({overslept_ms} ms on the wall)"
                )
        print(*self.said, sep="\n")


@contextlib.contextmanager
def no_stall() -> Iterator[Cgroup]:
    """No task outside of the storms waits for so long; the cgroup of an agent of high priority."""
    watch = Watch()
    with own_cgroup() as high:
        (high.path / "cpu.weight").write_text("1000")
        with watch.during(high):
            yield high
    assert watch.longest_s < STALL_S, watch.said


def test_a_stall_is_noticed() -> None:
    """A probe that is stopped for a second is told; a CPU that is not there, so that its witness
    stands still with it, is not."""
    for stopped_too, told in ((False, True), (True, False)):
        watch = Watch()
        with watch.during() as clock:
            probe, witnesses = watch.probes["CPU 0"], watch.witnesses if stopped_too else []
            for one in (*witnesses, probe):
                one.send_signal(signal.SIGSTOP)
            if stopped_too:
                time.sleep(2 * NOTICED_S)
            else:
                enough = clock[0] + 2 * NOTICED_S / stalls.PACE_S
                until(lambda enough=enough: clock[0] > enough, PATIENCE_S)
            for one in (probe, *witnesses):
                one.send_signal(signal.SIGCONT)
        assert (watch.longest_s >= NOTICED_S) is told, watch.said


def is_more(now: dict[str, int], before: dict[str, int]) -> bool:
    """Whether a map holds more than it did."""
    return any(now[name] > count for name, count in before.items())


def test_it_may_end_in_a_storm() -> None:
    """SIGKILL of its holder and a CPU that goes and comes, at any moment, with tasks that wait and
    tasks that are delayed: the kernel's own scheduler takes over, ours is loaded again at once."""
    if not THERE:
        return
    with no_complaints(), storms(SECONDS) as (tree, running):
        budget = f"s.memory_delay.set({(tree.path / 'b').stat().st_ino}, 8 << 20, 0, 'low'); "
        while any(one.poll() is None for one in running):
            with holder(budget) as child:
                assert child.poll() is None
                time.sleep(random.random())
                replug_a_cpu()
                until(lambda: loaded() is None, PATIENCE_S)
            with holder(budget) as child:
                assert child.poll() is None
                time.sleep(random.random())
                child.kill()
                until(lambda: loaded() is None, PATIENCE_S)
