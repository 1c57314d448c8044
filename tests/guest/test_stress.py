# SPDX-License-Identifier: Apache-2.0
"""The scheduler with memory delay in storms: nothing warns, nothing stalls, nothing is left behind.

`make test-stress` runs each storm for five minutes, the guest tier for some seconds. On a
kernel without sched_ext there is nothing to load: `test_scheduler.py` shows what is said.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from agentcg.bpf.scheduler import Scheduler, loaded
from agentcg.cgroups import Cgroup
from cgroup_support import own_cgroup, until
from scheduler_support import PATIENCE_S, THERE, holder, replug_a_cpu
from storms import KINDS, NAMES

SECONDS = float(os.environ.get("AGENTCG_STRESS_SECONDS", "8"))
STORMS = Path(__file__).parents[1] / "storms.py"
BAD = re.compile(r"WARNING:|BUG:|Oops|rcu: INFO|blocked for more than|sched_ext: .*error|stall")


@contextlib.contextmanager
def no_complaints() -> Iterator[None]:
    """The kernel's log has no warning that was not there before."""

    def lines() -> list[str]:
        said = subprocess.run(["dmesg"], check=True, capture_output=True, text=True)
        return [line for line in said.stdout.splitlines() if BAD.search(line)]

    before = lines()
    yield
    assert [line for line in lines() if line not in before] == []


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
    scheduler stays in charge, the kernel does not complain, the maps hold no more than before."""
    if not THERE:
        return
    with no_complaints(), Scheduler.open() as scheduler:
        assert scheduler.memory_delay is not None
        before = scheduler.entries()
        with storms(SECONDS) as (tree, running):
            low = tree.path / "b"
            low_id = low.stat().st_ino
            scheduler.memory_delay.set(low_id, 8 << 20, 0, "low", 100_000_000)
            scheduler.favour(tree.id, True)
            while any(one.poll() is None for one in running):
                scheduler.memory_delay.heartbeat()
                time.sleep(1)
            delays = scheduler.memory_delay.clear(low_id)
            assert delays is not None
            assert delays.count > 0
            scheduler.favour(tree.id, False)
        until(lambda: not is_more(scheduler.entries(), before), PATIENCE_S)
        assert scheduler.ended() == ""


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
