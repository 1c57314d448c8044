# SPDX-License-Identifier: Apache-2.0
"""`agentcg doctor`: what the daemon says, or what this host offers, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentcg.daemon.cli import checks
from agentcg.daemon.cli.checks import host_controls
from agentcg.daemon.cli.view.doctor import report
from agentcg.daemon.messages import Control
from agentcg.errors import CgroupError
from support.commandline import cli
from support.examples import a_health
from support.scripted_daemon import ScriptedDaemon

WEAK = Control(
    name="accounting", state="degraded", backend="cgroup files",
    detail="bcc is not installed: apt install python3-bpfcc",
)  # fmt: skip
HOLDS = Control(name="memory.high", state="enforced", backend="cgroup file", detail="")


def test_sound_daemon(daemon: ScriptedDaemon) -> None:
    """Everything holds: 0, and each control with its backend."""
    daemon.on("GET", "/v1/health", a_health())
    result = cli(daemon.path, "doctor")
    assert result.exit_code == 0
    assert "ok        memory.high  cgroup file" in result.stdout


def test_degraded_daemon(daemon: ScriptedDaemon) -> None:
    """Something does not hold: 5, and what would be needed."""
    daemon.on("GET", "/v1/health", a_health(state="degraded", controls=[HOLDS, WEAK]))
    result = cli(daemon.path, "doctor")
    assert result.exit_code == 5
    assert "DEGRADED  accounting   cgroup files\n          bcc is not installed" in result.stdout


def test_refused_policy(daemon: ScriptedDaemon) -> None:
    """A policy that was not taken is a finding like any other."""
    health = a_health(state="degraded", policy_error="50-site.yaml:3:14: no such field")
    daemon.on("GET", "/v1/health", health)
    result = cli(daemon.path, "doctor")
    assert result.exit_code == 5
    assert "50-site.yaml:3:14: no such field" in result.stdout


def test_a_policy_with_warnings_holds(daemon: ScriptedDaemon) -> None:
    """What is hardly meant is shown, and is no finding."""
    warning = "50-site.yaml:3:14: warning: sessions[0].match.name: '*': fits everything"
    daemon.on("GET", "/v1/health", a_health(policy_warnings=[warning]))
    result = cli(daemon.path, "doctor")
    assert result.exit_code == 0
    assert f"ok        policy       1 warning\n          {warning}" in result.stdout


def test_json(daemon: ScriptedDaemon) -> None:
    """One object with the daemon's state and its controls."""
    daemon.on("GET", "/v1/health", a_health(state="degraded", controls=[WEAK]))
    result = cli(daemon.path, "doctor", "--json")
    data = json.loads(result.stdout)
    assert result.exit_code == 5
    assert (data["daemon"], data["state"], data["policy_error"]) == ("running", "degraded", None)
    assert data["controls"][0]["state"] == "degraded"


@pytest.mark.parametrize(("found", "code"), [([HOLDS], 3), ([HOLDS, WEAK], 5)])
def test_absent_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: list[Control], code: int
) -> None:
    """The host is checked from here: 3 if it only lacks the daemon, 5 if it lacks more."""
    monkeypatch.setattr(checks, "host_controls", lambda: found)
    result = cli(tmp_path / "absent", "doctor")
    assert result.exit_code == code
    told = " ".join(result.stdout.split())
    assert told.startswith(f"The daemon is not there ({tmp_path}/absent: no such socket)")
    data = json.loads(cli(tmp_path / "absent", "doctor", "--json").stdout)
    assert (data["daemon"], data["state"]) == ("absent", None)


def test_this_host_is_checked_without_a_trace() -> None:
    """The real checks give each control a state, and a way on where it is not enforced."""
    controls = host_controls()
    assert "bpf: bcc" in {control.name for control in controls}
    assert all(control.detail for control in controls if control.state != "enforced")


def test_refusal_of_the_host_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no cgroup v2 the remedy is shown and the other checks go on."""

    def refuse() -> None:
        raise CgroupError("/sys/fs/cgroup", "", None, None, remedy="mount it")

    monkeypatch.setattr("agentcg.cgroups.find_mount", refuse)
    controls = host_controls()
    assert (controls[0].name, controls[0].state) == ("cgroups", "absent")
    assert controls[0].detail.endswith("mount it")
    assert len(controls) > 1


def test_long_details_are_folded() -> None:
    """Every line fits the terminal."""
    long = Control(name="x", state="absent", backend="-", detail="word " * 60)
    assert all(line.cell_len <= 40 for line in report(a_health(), "", [long], 40))
