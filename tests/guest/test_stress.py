# SPDX-License-Identifier: Apache-2.0
"""The scheduler with memory delay in storms: nothing warns, no task waits for long, nothing is left
behind.

`make test-stress` runs each storm for some minutes, the guest tier for some seconds. On a
kernel without sched_ext there is nothing to load: `test_scheduler.py` shows what is said.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

import stalls
from agentcg.bpf.scheduler import Scheduler, loaded
from cgroup_support import until
from kernel_log import no_complaints
from scheduler_support import PATIENCE_S, THERE, holder, replug_a_cpu
from storm_support import SECONDS, Watch, is_more, no_stall, storms

NOTICED_S = 1.0


def test_storms_leave_nothing_behind() -> None:
    """Forks, cgroups that come and go, weights, freezing, affinities, memory over a budget and at
    its limit: the scheduler stays in charge, no task beside them waits for long, the kernel does
    not complain, the maps hold no more than before."""
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


def test_a_complaint_is_noticed() -> None:
    """A line of the kernel's log that warns is told."""
    with pytest.raises(AssertionError, match="told by a test"), no_complaints():
        Path("/dev/kmsg").write_text("WARNING: told by a test\n")


def test_it_may_end_in_a_storm() -> None:
    """SIGKILL of its holder and a CPU that goes and comes, at any moment, with tasks that wait and
    tasks that are delayed: the kernel's own scheduler takes over, ours is loaded again at once, and
    no task beside them waits for long."""
    if not THERE:
        return
    with no_complaints(), no_stall(), storms(SECONDS) as (tree, running):
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
