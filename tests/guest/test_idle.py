# SPDX-License-Identifier: Apache-2.0
"""The idle window as systemd runs the daemon, with zram: an agent that waits gives its memory, and
has it back before an announced call."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.daemon.policybench.zram import swap_on_zram
from cgroup_support import until
from daemon_support import Api, fresh
from systemd_support import PATIENCE_S, SOCKET, accounting, policy, systemctl

DROP_IN = Path("/run/systemd/system/agentcgd.service.d/idle.conf")
POLICY = "version: 1\nidle:\n  reclaim: [normal]\n"
# 100 MiB that compress, each page another one.
AGENT = (
    "import sys, time; open(sys.argv[1], 'w').write('0');"
    "held = [str(n).encode() * 800 for n in range(30000)]; print(len(held), flush=True);"
    "time.sleep(1000)"
)


@pytest.fixture
def daemon() -> Iterator[Api]:
    """The daemon of the unit with the drop-in of docs/policy.md."""
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text("[Service]\nCapabilityBoundingSet=CAP_SYS_NICE CAP_SYS_PTRACE\n")
    systemctl("daemon-reload")
    systemctl("restart", "agentcgd")
    running = Api(SOCKET)
    until(lambda: accounting(running) != "starting", PATIENCE_S)
    with swap_on_zram(1 << 29), policy(POLICY):
        yield running
        running.close_all()
    DROP_IN.unlink()
    systemctl("daemon-reload")
    systemctl("restart", "agentcgd")


def current(runtime: Path) -> int:
    return int((runtime / "memory.current").read_text())


def in_swap(pid: int) -> int:
    """Pages of the process that are in swap alone, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmSwap:"):
            return int(line.split()[1]) * 1024
    return 0


def test_an_agent_that_waits_gives_its_memory_and_has_it_back(daemon: Api) -> None:
    """It says `generating`: more than half of what it holds goes to swap. A call is announced:
    before it begins, that is read again. One of high priority keeps what it has."""
    agents = []
    for priority in ("normal", "high"):
        name = fresh()
        runtime = Path(daemon.open(name, priority=priority)["runtime"])
        process = subprocess.Popen(
            [sys.executable, "-c", AGENT, f"{runtime}/cgroup.procs"], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        agents.append((name, runtime, process, current(runtime)))
        daemon.good("POST", f"/v1/sessions/{name}/intents", {"kind": "generating"})
    (name, runtime, process, before), (_, kept, other, all_) = agents
    try:
        until(lambda: current(runtime) < before / 2, 120)
        assert in_swap(process.pid) > before / 3
        taken = current(runtime)
        announced = {"kind": "call", "start_in_s": 3.0}
        daemon.good("POST", f"/v1/sessions/{name}/intents", announced)
        until(lambda: current(runtime) > taken + (before - taken) / 2, 60)
        assert current(kept) > all_ * 0.9
    finally:
        for one in (process, other):
            one.kill()
            one.wait()
