# SPDX-License-Identifier: Apache-2.0
"""Accounts by BPF through the daemon: what ran, how it ended, and that a restart keeps it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from agentcg.bpf import Accounting
from daemon_support import Daemon, fresh, own_daemon

TOOL = """
import subprocess, sys
sys.stdin.readline()
subprocess.run(["/bin/true", "--token=hunter2"])
sys.exit(3)
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon that has the programs attached; they are taken away at the end."""
    pins = f"/sys/fs/bpf/{fresh('agentcg-test')}"
    with own_daemon("--require", "none", "--bpf", "on", "--pins", pins) as running:
        yield running
    Accounting.open(pins).unpin()


def started() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", TOOL], stdin=subprocess.PIPE)


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


def test_accounting_is_in_force(daemon: Daemon) -> None:
    """Health says by which means calls are accounted."""
    accounting = {c["name"]: c for c in daemon.get("/v1/health")["controls"]}["accounting"]
    assert accounting["state"] == "enforced"
    assert daemon.get("/v1/health")["accounting"] == "bpf"
