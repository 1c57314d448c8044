# SPDX-License-Identifier: Apache-2.0
"""An agent under no wrapper at all, on a host with systemd and all controllers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cgroup_support import cgroup_of, until
from daemon_support import Api

PATIENCE_S = 300.0  # the guest is emulated, and the programs are compiled first
POLICY = Path("/etc/agentcg/policies.d/60-adopt.yaml")
MIB = 1 << 20
# Has the name of a known client, and does as that one does: a shell for each call.
AGENT = """#!/usr/bin/python3 -IS
import subprocess
hold = "import time; x = bytearray(100 << 20); time.sleep(3)"
subprocess.run(["/bin/sh", "-c", f"sleep 2; python3 -ISc '{hold}'; exit 3"])
subprocess.run(["/bin/sh", "-c", "sleep 1000"])
"""


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def detects() -> bool:
    told = subprocess.run(["agentcg", "doctor", "--json"], capture_output=True, check=False)
    controls = json.loads(told.stdout or b"{}").get("controls", [])
    return any(c["name"] == "detection" and c["state"] == "enforced" for c in controls)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Pid of an agent in a service of its own user, started by systemd and not by agentcg."""
    POLICY.parent.mkdir(parents=True, exist_ok=True)
    POLICY.write_text(
        "version: 1\nsessions:\n  - {match: {user: nobody, unit: tool.service}, adopt: true}\n"
    )
    program = Path("/opt/stand-in/mini")
    program.parent.mkdir(exist_ok=True)
    program.write_text(AGENT)
    program.chmod(0o755)
    run("systemctl", "restart", "agentcgd")
    until(detects, PATIENCE_S)
    run("systemd-run", "--unit=tool", "--uid=65534", str(program), "-m", "x")
    pid = int(run("systemctl", "show", "-P", "MainPID", "tool"))
    try:
        yield pid
    finally:
        subprocess.run(["systemctl", "kill", "-s", "KILL", "tool"], check=False)
        session = f"/v1/sessions/mini-swe-agent-{pid}?kill=true"
        Api(Path("/run/agentcg/agentcg.sock")).ask("DELETE", session)
        POLICY.unlink()
        run("systemctl", "reload", "agentcgd")


def calls(session: str) -> list[dict[str, Any]]:
    told = json.loads(run("agentcg", "status", "--json"))
    return [call for call in told["calls"] if call["session"] == session]


def test_its_calls_show_in_status(agent: int) -> None:
    """The agent gets a session of its user, and each of its calls a line in `agentcg status`."""
    session = f"mini-swe-agent-{agent}"
    until(lambda: calls(session), PATIENCE_S)
    assert cgroup_of(agent).endswith(f"/{session}/runtime")
    told = json.loads(run("agentcg", "status", "--json"))
    (opened,) = [each for each in told["sessions"] if each["name"] == session]
    assert opened["uid"] == 65534
    shown = run("agentcg", "status")
    assert session in shown
    assert "sleep" in shown


def test_their_memory_is_theirs(agent: int) -> None:
    """What a found call holds is in its account, with its status; the agent is not charged."""
    session = f"mini-swe-agent-{agent}"

    def ended() -> list[dict[str, Any]]:
        listed = json.loads(run("agentcg", "calls", "--json", "--state", "all"))
        return [c for c in listed["calls"] if c["session"] == session and c["exit_status"] == 3]

    until(ended, PATIENCE_S)
    (call,) = ended()
    assert (call["found"], call["client"]) == ("signature", "mini-swe-agent")
    assert call["account"]["memory_peak_bytes"] > 100 * MIB
    peak = Path("/sys/fs/cgroup") / cgroup_of(agent).strip("/") / "memory.peak"
    assert int(peak.read_text()) < 64 * MIB
