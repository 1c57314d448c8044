# SPDX-License-Identifier: Apache-2.0
"""The daemon that holds the scheduler, in storms: stopped and killed at random beside its agents.

Short in the guest tier, for minutes by `make test-stress`. On a kernel without sched_ext there is
nothing to hold.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from agentcg.bpf.scheduler import loaded
from agents import Agent, is_frozen
from cgroup_support import until
from daemon_support import Daemon, fresh, own_daemon
from kernel_log import no_complaints
from scheduler_support import PATIENCE_S, THERE, bpftool, control, entries_of
from storm_support import SECONDS, no_stall, storms

OPTIONS = ("--require", "memory,cpu,pids", "--bpf", "off", "--scheduler", "on",
           "--log-level", "warning")  # fmt: skip
PRIORITIES = ("low", "normal", "high")
STOPPED_S = (1.0, 4.0)
GROWING = ("slots", "favoured", "budgets", "delays", "works")


@contextlib.contextmanager
def agents(daemon: Daemon) -> Iterator[list[Agent]]:
    """One of each priority. At the end each has had calls that were paused and went on."""
    working = [Agent(daemon, priority) for priority in PRIORITIES]
    try:
        yield working
        until(lambda: all(one.rounds > 0 or not one.is_alive() for one in working), PATIENCE_S)
    finally:
        for one in working:
            one.stop()
    assert all(one.rounds > 0 for one in working)


@contextlib.contextmanager
def kept_call(daemon: Daemon) -> Iterator[Any]:
    """A call that was there before the storm, and is there at the end."""
    name = fresh()
    daemon.open(name)
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import time\nwhile True: time.sleep(0.01)"]
    ) as tool:
        try:
            yield daemon.begin(name, pid=tool.pid)
            assert tool.poll() is None
        finally:
            tool.kill()


def entries() -> dict[str, int]:
    """How many entries each map of the scheduler has that grows and shrinks."""
    return {name: len(entries_of(name)) for name in GROWING}


def maps() -> set[str]:
    """Those of them that there are."""
    return {one["name"] for one in bpftool("map", "show") if one.get("name") in GROWING}


def test_a_daemon_may_die_at_any_moment_of_a_storm() -> None:
    """Stopped for seconds it leaves the scheduler in charge; killed, the kernel's own is back, and
    the next daemon has the sessions, the calls and who is paused, and loads it again. No task
    beside the storms waits for long, the kernel does not complain, and nothing is left in it."""
    if not THERE:
        return
    with no_complaints(), own_daemon(*OPTIONS) as daemon, no_stall():
        before = entries()
        assert maps() == set(GROWING)
        with kept_call(daemon) as kept, agents(daemon), storms(SECONDS) as (_, running):
            ways = itertools.cycle((dies, hangs))
            while any(one.poll() is None for one in running):
                time.sleep(2 * random.random())
                next(ways)(daemon, kept)
        daemon.close_all()
        until(lambda: all(entries()[name] <= before[name] for name in GROWING), PATIENCE_S)
        daemon.stop()
        until(lambda: (loaded(), maps()) == (None, set()), PATIENCE_S)


def hangs(daemon: Daemon, _: Any) -> None:
    with daemon.standing_still():
        time.sleep(random.uniform(*STOPPED_S))
        assert loaded() == "agentcg"
    until(lambda: control(daemon)["state"] == "enforced", PATIENCE_S)


def dies(daemon: Daemon, kept: Any) -> None:
    target = f"/v1/calls/{kept['id']}"
    daemon.good("POST", f"{target}/freeze")
    daemon.kill()
    until(lambda: loaded() is None, PATIENCE_S)
    daemon.start()
    assert loaded() == "agentcg"
    assert daemon.get(target)["state"] == "running"
    until(lambda: is_frozen(kept), PATIENCE_S)
    daemon.good("POST", f"{target}/thaw")
    until(lambda: not is_frozen(kept), PATIENCE_S)
