# SPDX-License-Identifier: Apache-2.0
"""Limits, protections and figures on a kernel with all controllers."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.cgroups import (
    MAX,
    Cgroup,
    CpuMax,
    IoMax,
    Limits,
    Peak,
    Watcher,
    fork_into,
    knobs,
    spawn_into,
)
from agentcg.cgroups.values import DEFAULTS, beyond_defaults
from agentcg.errors import CgroupError
from cgroup_support import own_cgroup, process, until

CONTROLLERS = ("cpu", "io", "memory", "pids")
ENV = {"PATH": os.environ["PATH"]}
MIB = 1 << 20

HOLDS = "import time; held = bytearray({size}); print(flush=True); time.sleep(1000)"


@pytest.fixture
def leaf() -> Iterator[Cgroup]:
    """A leaf of this test alone, with all controllers."""
    with own_cgroup() as top:
        top.enable(CONTROLLERS)
        with top.create("leaf") as cgroup:
            yield cgroup


def python(leaf: Cgroup, code: str) -> int:
    """A Python process that runs `code`, born in `leaf`; its pid."""
    return spawn_into(leaf.fileno(), [sys.executable, "-ISc", code], ENV, oom_score_adj=500)


def ended(pid: int) -> int:
    """The exit code of a process, -N for signal N."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_every_limit_is_applied_and_read_back(leaf: Cgroup) -> None:
    """What is applied is in force, memory rounded down to whole pages."""
    limits = Limits(
        memory_min=4 * MIB,
        memory_low=8 * MIB,
        memory_high=64 * MIB,
        memory_max=128 * MIB,
        memory_swap_max=0,
        memory_oom_group=True,
        cpu_weight=50,
        cpu_max=CpuMax(50_000, 200_000),
        io_weight=77,
        pids_max=33,
    )
    leaf.apply(limits)
    assert leaf.limits() == limits
    leaf.apply(Limits(memory_high=64 * MIB + 1))
    assert leaf.limits() == limits


def test_a_new_cgroup_has_the_limits_that_need_not_be_written(leaf: Cgroup) -> None:
    """What is left out for a cgroup that has just been made is what the kernel gave it."""
    assert leaf.limits() == DEFAULTS
    wanted = DEFAULTS._replace(memory_high=64 * MIB, cpu_weight=7)
    leaf.apply(beyond_defaults(wanted))
    assert leaf.limits() == wanted


def test_limits_are_lifted_with_max(leaf: Cgroup) -> None:
    """MAX is the kernel's "max"; what is None stays."""
    leaf.apply(Limits(memory_max=MIB, pids_max=1, cpu_max=CpuMax(1000), cpu_weight=7))
    leaf.apply(Limits(memory_max=MAX, pids_max=MAX, cpu_max=CpuMax(MAX)))
    limits = leaf.limits()
    assert (limits.memory_max, limits.pids_max, limits.cpu_max) == (MAX, MAX, CpuMax(MAX))
    assert limits.cpu_weight == 7


def test_the_other_knobs(leaf: Cgroup) -> None:
    """Files beyond the limits are written and read as values too."""
    leaf.set(knobs.CPU_WEIGHT_NICE, -5)
    assert leaf.get(knobs.CPU_WEIGHT_NICE) == -5
    leaf.set(knobs.CGROUP_MAX_DEPTH, 3)
    assert leaf.get(knobs.CGROUP_MAX_DEPTH) == 3
    assert leaf.get(knobs.CGROUP_TYPE) == "domain"
    assert leaf.get(knobs.CGROUP_STAT) is not None
    disk = Path("/").stat().st_dev
    device = f"{os.major(disk)}:{os.minor(disk)}"
    leaf.set_io_max(device, IoMax(wbps=MIB))
    assert leaf.get(knobs.IO_MAX) == {device: IoMax(wbps=MIB)}
    with pytest.raises(CgroupError, match="no such block device"):
        leaf.set_io_max("250:250", IoMax(wbps=MIB))


def test_usage_has_every_figure(leaf: Cgroup) -> None:
    """With all controllers nothing is None but what the kernel lacks, and held memory is seen."""
    pid = python(leaf, HOLDS.format(size=32 * MIB))
    # Not memory.current: it counts page tables too, and is there before the last page is.
    until(lambda: (stat := leaf.usage().memory_stat) is not None and (stat.anon or 0) > 32 * MIB)
    usage = leaf.usage()
    frozen = [] if (leaf.path / "cgroup.stat.local").exists() else ["frozen_us"]  # since 6.18
    assert [name for name in usage._fields if getattr(usage, name) is None] == frozen
    assert (usage.memory_current or 0) > 32 * MIB
    assert usage.memory_stat is not None
    assert usage.memory_stat.pgfault is not None
    assert usage.memory_stat.pgfault > 0
    assert (usage.pids_current, usage.cpu_stat.nr_throttled) == (1, 0)
    leaf.kill()
    assert ended(pid) == -signal.SIGKILL


def test_out_of_memory_kills_the_call_and_is_counted(leaf: Cgroup) -> None:
    """memory.max kills the whole group inside and nobody else; the events say so."""
    leaf.apply(Limits(memory_max=24 * MIB, memory_swap_max=0, memory_oom_group=True))
    other = python(leaf, "import time; time.sleep(1000)")
    greedy = python(leaf, f"held = bytearray({200 * MIB})")
    assert (ended(greedy), ended(other)) == (-signal.SIGKILL, -signal.SIGKILL)
    events = leaf.usage().memory_events
    assert events is not None
    assert events.oom >= 1
    assert events.oom_kill >= 2  # the kernel may count the chosen one again with its group
    assert events.oom_group_kill == 1
    assert events.max > 0


def test_over_memory_high_is_slowed_and_not_killed(leaf: Cgroup) -> None:
    """memory.high throttles: its events grow and the time lost is memory pressure."""
    leaf.apply(Limits(memory_high=16 * MIB, memory_swap_max=0))
    pid = python(leaf, f"held = bytearray({24 * MIB})")
    until(lambda: (e := leaf.usage().memory_events) is not None and e.high > 0)
    until(lambda: (p := leaf.pressure("memory")) is not None and p.some.total_us > 0)
    events = leaf.usage().memory_events
    assert events is not None
    assert events.oom_kill == 0
    leaf.kill()
    ended(pid)


def test_a_memory_pressure_trigger_fires(leaf: Cgroup) -> None:
    """A cgroup that is slowed at memory.high reports its stalls through the watcher."""
    with Watcher[str]() as watcher:
        watcher.trigger(leaf, "memory", "some", 100_000, 1_000_000, "stalled")
        watcher.poll()
        leaf.apply(Limits(memory_high=12 * MIB, memory_swap_max=0))
        pid = python(leaf, f"held = bytearray({200 * MIB})")
        assert select.select([watcher.fileno()], [], [], 60)[0]
        assert watcher.poll() == ["stalled"]
    leaf.kill()
    ended(pid)


def test_a_peak_can_be_reset(leaf: Cgroup) -> None:
    """A peak of one's own starts anew at the present use; the cgroup's own peak stays."""
    peak = Peak.open(leaf)
    assert peak is not None
    with peak:
        pid = python(leaf, f"import time; held = bytearray({32 * MIB}); del held; time.sleep(1000)")
        until(lambda: peak.read() > 32 * MIB)
        until(lambda: (leaf.usage().memory_current or 0) < 24 * MIB)
        assert peak.read() > 32 * MIB
        peak.reset()
        assert peak.read() < 32 * MIB
        assert (leaf.usage().memory_peak or 0) > 32 * MIB
    leaf.kill()
    ended(pid)


def test_reclaim_takes_memory_from_a_cgroup(leaf: Cgroup) -> None:
    """Page cache that is not in use is given back; asking for more than there is says so."""
    write = "dd if=/dev/zero of=/var/tmp/reclaim bs=1M count=32 conv=fsync status=none"
    assert ended(spawn_into(leaf.fileno(), ["sh", "-c", write], ENV)) == 0
    before = leaf.usage().memory_current or 0
    assert leaf.reclaim(8 * MIB, swappiness=0)
    after = leaf.usage().memory_current or 0
    assert after <= before - 7 * MIB
    assert not leaf.reclaim(1 << 40)
    Path("/var/tmp/reclaim").unlink()


def test_a_process_limit_stops_births_too(leaf: Cgroup) -> None:
    """clone3 into a cgroup at its pids.max fails with the reason; pids.events counts it."""
    leaf.apply(Limits(pids_max=1))
    with process() as child:
        leaf.place(child.pid)
        with pytest.raises(CgroupError, match=r"pids\.max") as caught:
            fork_into(leaf.fileno())
        assert caught.value.errno == errno.EAGAIN
        assert leaf.get(knobs.PIDS_EVENTS) == {"max": 1}
        assert leaf.usage().pids_peak == 1


def test_cpu_max_throttles_and_is_counted(leaf: Cgroup) -> None:
    """A busy process under a quota is stopped for the rest of each period."""
    leaf.apply(Limits(cpu_max=CpuMax(10_000, 100_000)))
    pid = python(leaf, "while True: pass")
    until(lambda: (leaf.usage().cpu_stat.nr_throttled or 0) >= 3)
    assert (leaf.usage().cpu_stat.throttled_us or 0) > 0
    leaf.kill()
    ended(pid)


def test_a_birth_is_charged_to_its_cgroup(leaf: Cgroup) -> None:
    """What a program started at birth allocates never shows in its parent's cgroup."""
    with own_cgroup() as top:
        top.enable(["memory"])
        with top.create("parent") as parent:
            code = (
                "import os, sys; from agentcg.cgroups import *; "
                f"leaf = Cgroup.open('{leaf.path}'); pid = spawn_into(leaf.fileno(), "
                f"[sys.executable, '-ISc', 'held = bytearray({64 * MIB})'], os.environ); "
                "os.waitpid(pid, 0)"
            )
            pid = spawn_into(parent.fileno(), [sys.executable, "-c", code], dict(os.environ))
            assert ended(pid) == 0
            assert (leaf.usage().memory_peak or 0) > 64 * MIB
            assert (parent.usage().memory_peak or 0) < 64 * MIB


def test_memory_that_was_charged_stays_where_it_was(leaf: Cgroup) -> None:
    """Moving a process moves its future allocations only."""
    with subprocess.Popen(
        [sys.executable, "-ISc", HOLDS.format(size=32 * MIB)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        leaf.place(child.pid)
        assert (leaf.usage().memory_current or 0) < 16 * MIB
        child.kill()
