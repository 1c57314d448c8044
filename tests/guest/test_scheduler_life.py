# SPDX-License-Identifier: Apache-2.0
"""A daemon that has the scheduler in charge: what is left of it while it hangs, and after SysRq-S.

On a kernel without sched_ext there is nothing to hold: `test_scheduler.py` shows what is said.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentcg.bpf.scheduler import loaded
from cgroup_support import let_go, until, waiting
from daemon_support import Daemon, fresh, own_daemon
from scheduler_support import PATIENCE_S, THERE, control, entries_of, times_loaded

OPTIONS = ("--require", "memory,cpu,pids", "--bpf", "off", "--scheduler", "on")
POLICY = "version: 1\ncalls: [{memory_max: 48M}]\n"
# Reads a file again and again of which it can keep only a part.
READ = """
import os, tempfile
with tempfile.TemporaryFile(dir="/var/tmp") as file:
    for _ in range(64): file.write(bytes(1 << 20))
    file.flush()
    os.fsync(file.fileno())
    while True:
        for mib in range(64): os.pread(file.fileno(), 1 << 20, mib << 20)
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon | None]:
    """In charge, without a service manager that looks after it; None without sched_ext."""
    if not THERE:
        yield None
        return
    with own_daemon(*OPTIONS) as started:
        built_in = started.get("/v1/health")["policy"]
        (started.policies / "10.yaml").write_text(POLICY)
        until(lambda: started.get("/v1/health")["policy"] != built_in, PATIENCE_S)
        yield started


@contextlib.contextmanager
def at_its_limit(daemon: Daemon) -> Iterator[Any]:
    """A call that always wants more memory than it may have."""
    name = fresh()
    daemon.open(name, priority="low")
    with waiting(READ) as tool:
        call = daemon.begin(name, pid=tool.pid)
        let_go(tool)
        yield call


def delays_of(call: Any) -> int:
    """As the kernel counts them: the daemon may not answer."""
    cgroup_id = Path(call["cgroup"]).stat().st_ino
    found = {
        one["formatted"]["key"]: one["formatted"]["value"]["count"] for one in entries_of("delays")
    }
    return int(found.get(cgroup_id, 0))


def times_over(call: Any) -> int:
    """How often it was at its limit."""
    lines = (Path(call["cgroup"]) / "memory.events").read_text().splitlines()
    events = dict(line.split() for line in lines)
    return int(events["high"]) + int(events["max"])


def test_a_daemon_that_hangs_delays_nobody_for_long(daemon: Daemon | None) -> None:
    """Ten seconds after its last heartbeat budgets have expired: a call is at its limit again and
    again, and only the kernel's own holds it up. When the daemon goes on, so do they."""
    if daemon is None:
        return
    with at_its_limit(daemon) as call:
        until(lambda: delays_of(call) > 0, PATIENCE_S)
        with daemon.standing_still():
            until(lambda: has_expired(call), PATIENCE_S)
            assert loaded() == "agentcg"
            seen = delays_of(call)
        until(lambda: delays_of(call) > seen, PATIENCE_S)


def has_expired(call: Any) -> bool:
    """It was at its limit a hundred times, and was not delayed once."""
    seen, over = delays_of(call), times_over(call)
    until(lambda: times_over(call) > over + 100, PATIENCE_S)
    return delays_of(call) == seen


def test_after_sysrq_the_daemon_goes_on_without(daemon: Daemon | None) -> None:
    """Doctor has the kernel's reason, and calls are bounded by the kernel as without one; it is not
    loaded again until the daemon starts anew."""
    if daemon is None:
        return
    before = times_loaded()
    Path("/proc/sysrq-trigger").write_text("S")
    until(lambda: loaded() is None, PATIENCE_S)
    until(lambda: control(daemon)["state"] == "off", PATIENCE_S)
    assert "the kernel took it out: " in control(daemon)["detail"]
    assert "sysrq" in control(daemon)["detail"].lower()
    assert control(daemon, "memory delay")["state"] == "off"
    with at_its_limit(daemon) as call:
        until(lambda: times_over(call) > 100, PATIENCE_S)
        assert daemon.end(call["id"])["account"]["delayed"] is None
    assert (loaded(), times_loaded()) == (None, before)
    daemon.restart()
    assert (loaded(), times_loaded()) == ("agentcg", before + 1)
    assert control(daemon)["state"] == "enforced"
