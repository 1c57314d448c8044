# SPDX-License-Identifier: Apache-2.0
"""Accounts and curves with the memory controller, against what the tool and the kernel say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cgroup_support import until
from daemon_support import Api, fresh
from usage_support import accounts

MIB = 1 << 20
POLICY = Path("/etc/agentcg/policies.d/60-usage.yaml")
PATIENCE_S = 300.0  # the guest is emulated, and the programs are compiled first
BURST = "x = bytearray(200 << 20)\ndel x\nimport time\nwhile time.process_time() < 2: pass\n"
FILE = """
import os
path = "/var/tmp/agentcg-usage"
with open(path, "wb") as file:
    for _ in range(48): file.write(bytes(1 << 20))
    os.fsync(file.fileno())
for _ in range(2):
    with open(path, "rb") as file:
        while file.read(1 << 20): pass
os.unlink(path)
"""


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """The daemon of the unit, once BPF accounts."""
    subprocess.run(["systemctl", "start", "agentcgd"], check=True)
    daemon = Api(Path("/run/agentcg/agentcg.sock"))
    until(lambda: accounts(daemon), PATIENCE_S)
    yield daemon
    daemon.close_all()


def run(api: Api, code: str, **fields: Any) -> Any:
    """The ended call of a tool that runs `code`."""
    name = fresh()
    api.open(name)
    line = f"import sys; sys.stdin.readline()\n{code}"
    with subprocess.Popen([sys.executable, "-S", "-c", line], stdin=subprocess.PIPE) as tool:
        call = api.begin(name, **{"pid": tool.pid, **fields})
        tool.communicate(b"\n")
        return api.end(call["id"], exit_status=tool.returncode)


def test_curve_has_the_burst(api: Api) -> None:
    """A burst that is given back at once is in the curve: how it rose, in points of a few
    milliseconds, its height as memory.peak has it, and that it was over."""
    call = run(api, BURST)
    curve = api.get(f"/v1/calls/{call['id']}/curve")
    levels = [point["memory_bytes"] for point in curve["points"]]
    peak = call["account"]["memory_peak_bytes"]
    assert peak > 200 * MIB
    assert 0.9 * peak <= max(levels) <= peak
    rising = levels[: levels.index(max(levels))]
    assert len([level for level in rising if 20 * MIB < level < 180 * MIB]) >= 5
    assert levels[-1] < 50 * MIB
    assert curve["gap_s"] <= 0.04


@pytest.fixture
def small(api: Api) -> Iterator[str]:
    """A tool whose calls may have 24M of memory, and never more."""
    POLICY.parent.mkdir(parents=True, exist_ok=True)
    POLICY.write_text("version: 1\ncalls:\n  - {match: {tool: Small}, memory_max: 24M}\n")
    until(lambda: POLICY.name in [f["name"] for f in api.get("/v1/policy")["files"]], PATIENCE_S)
    yield "Small"
    POLICY.unlink()


def test_cache_that_is_taken_back_and_read_again(api: Api, small: str) -> None:
    """A file of 48M read twice with 24M of memory: most of it is reclaimed and refaults."""
    used = run(api, FILE, tool=small)["account"]
    assert used["reclaimed_bytes"] > 32 * MIB
    assert used["refault_bytes"] > 16 * MIB
    assert used["io_read_bytes"] > 16 * MIB
    assert used["memory_some_us"] >= used["throttled_us"]


def test_time_frozen(api: Api) -> None:
    """A call that is frozen from outside: on kernels that count it the account says how long;
    else None, or what the daemon itself did, which is nothing."""
    name = fresh()
    api.open(name)
    line = "import sys; sys.stdin.readline()"
    with subprocess.Popen([sys.executable, "-S", "-c", line], stdin=subprocess.PIPE) as tool:
        call = api.begin(name, pid=tool.pid)
        leaf = Path(call["cgroup"])
        (leaf / "cgroup.freeze").write_text("1")
        until(lambda: "frozen 1" in (leaf / "cgroup.events").read_text())
        counted = (leaf / "cgroup.stat.local").exists()
        if counted:
            until(lambda: api.get(f"/v1/calls/{call['id']}")["account"]["frozen_us"] > 100_000)
        (leaf / "cgroup.freeze").write_text("0")
        tool.communicate(b"\n")
        used = api.end(call["id"])["account"]
    assert (used["frozen_us"] > 100_000) is counted
