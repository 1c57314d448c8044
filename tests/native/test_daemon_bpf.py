# SPDX-License-Identifier: Apache-2.0
"""Accounts by BPF through the daemon: what ran, how it ended, and that a restart keeps it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cgroup_support import until
from daemon_support import Daemon, daemon_with_bpf, fresh

TOOL = """
import subprocess, sys
print(flush=True)
sys.stdin.readline()
subprocess.run(["/bin/true", "--token=hunter2"])
sys.exit(3)
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon that has the programs attached; they are taken away at the end."""
    with daemon_with_bpf() as running:
        yield running


def started() -> subprocess.Popen[bytes]:
    """Its own exec is over: Popen returns a moment before the kernel tells of it."""
    command = [sys.executable, "-I", "-S", "-c", TOOL]
    tool = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert tool.stdout is not None
    tool.stdout.readline()
    return tool


def test_account_has_processes_commands_and_status(daemon: Daemon) -> None:
    """All of it is there in the answer to the end, secrets masked."""
    name = fresh()
    daemon.open(name)
    for _ in range(5):
        with started() as tool:
            call = daemon.begin(name, pid=tool.pid)
            tool.communicate(b"\n")
            used = daemon.end(call["id"], exit_status=tool.returncode)["account"]
        assert (used["processes"], used["execs"], used["first_exit_status"]) == (2, 1, 3)
        assert [command["argv"] for command in used["commands"]] == ["/bin/true --token=***"]


def test_sessions_and_the_host_have_accounts_too(daemon: Daemon) -> None:
    """What BPF counts is the sum over calls, ended and running, those of closed sessions at the
    host, too; CPU time has the agent's own in it."""
    before = daemon.get("/v1/host")["account"]
    names = [fresh(), fresh()]
    for name in names:
        daemon.open(name)
        with started() as tool:
            call = daemon.begin(name, pid=tool.pid)
            tool.communicate(b"\n")
            ended = daemon.end(call["id"])["account"]
    with started() as tool:
        daemon.begin(names[0], pid=tool.pid)
        used = daemon.get(f"/v1/sessions/{names[0]}")["account"]
        assert (used["processes"], used["execs"]) == (3, 1)
        assert used["cpu_user_us"] + used["cpu_system_us"] > 0
        tool.communicate(b"\n")
    used = daemon.get(f"/v1/sessions/{names[1]}")["account"]
    assert (used["processes"], used["execs"]) == (2, 1)
    assert used["cpu_user_us"] >= ended["cpu_user_us"]
    assert daemon.get("/v1/sessions")["sessions"][0]["account"] is None
    daemon.ask("DELETE", f"/v1/sessions/{names[1]}?kill=true")
    after = daemon.get("/v1/host")["account"]
    assert (after["processes"] - before["processes"], after["execs"] - before["execs"]) == (6, 3)


def test_counts_go_on_over_a_restart(daemon: Daemon) -> None:
    """What a call did before and while its daemon was killed is in its account."""
    name = fresh()
    daemon.open(name)
    with started() as tool:
        call = daemon.begin(name, pid=tool.pid)
        daemon.kill()
        tool.communicate(b"\n")
        daemon.start()
        used = daemon.end(call["id"], exit_status=3)["account"]
    assert (used["processes"], used["execs"], used["first_exit_status"]) == (2, 1, 3)


SPIN = """
import sys, time
sys.stdin.readline()
while time.process_time() < 0.3: pass
sys.stdin.readline()
"""


def test_curve_is_there_while_it_runs_after_and_from_disk(daemon: Daemon) -> None:
    """How a call went can be asked for at any time, and after the daemon has forgotten the call;
    its last point is the call's CPU time."""
    name = fresh()
    daemon.open(name)
    command = [sys.executable, "-I", "-S", "-c", SPIN]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as tool:
        assert tool.stdin is not None
        call = daemon.begin(name, pid=tool.pid)["id"]

        def curve() -> Any:
            return daemon.get(f"/v1/calls/{call}/curve")

        tool.stdin.write(b"\n")
        tool.stdin.flush()
        until(lambda: [point for point in curve()["points"] if point["cpu_s"] > 0.25])
        tool.communicate(b"\n")
        account = daemon.end(call)["account"]
    ended = curve()
    used_s = (account["cpu_user_us"] + account["cpu_system_us"]) / 1e6
    assert ended["points"][-1]["cpu_s"] == pytest.approx(used_s, abs=0.1)
    assert ended["points"][-1]["t_s"] <= account["wall_s"]
    assert ended["points"][0]["memory_bytes"] is None  # the memory controller is on cgroup v1 here
    until(lambda: daemon.get(f"/v1/history?session={name}")["calls"])
    daemon.restart()
    assert curve() == ended
    assert daemon.ask("GET", "/v1/calls/nosuchcall/curve").status == 404


def test_waits_and_traffic_are_in_the_account(daemon: Daemon) -> None:
    """What BPF and the kernel's pressure files say is in the answer to the end."""
    name = fresh()
    daemon.open(name)
    with started() as tool:
        call = daemon.begin(name, pid=tool.pid)
        tool.communicate(b"\n")
        used = daemon.end(call["id"])["account"]
    assert used["run_queue_us"] >= 0
    assert (used["network_sent_bytes"], used["connections"]) == (0, 0)
    assert used["cpu_some_us"] >= 0
    assert used["io_full_us"] >= 0
    assert used["swap_in_bytes"] is None


def test_accounting_is_in_force(daemon: Daemon) -> None:
    """Health says by which means calls are accounted."""
    accounting = {c["name"]: c for c in daemon.get("/v1/health")["controls"]}["accounting"]
    assert accounting["state"] == "enforced"
    assert daemon.get("/v1/health")["accounting"] == "bpf"
