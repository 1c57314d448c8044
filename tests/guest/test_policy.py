# SPDX-License-Identifier: Apache-2.0
"""Policies on a host with systemd: a file dropped into /etc holds at once, and its settings are
the kernel's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cgroup_support import until
from daemon_support import Api

pytestmark = pytest.mark.any_kernel(minutes=1)

POLICIES = Path("/etc/agentcg/policies.d")
SOCKET = Path("/run/agentcg/agentcg.sock")
SITE = POLICIES / "50-site.yaml"
SESSIONS = Path("/sys/fs/cgroup/agentcg.slice/agentcg-sessions.service/sessions")
POLICY = """
version: 1
extends: multi-tenant
sessions:
  - match: {unit: "probe*.service", cgroup: "/system.slice/*"}
    tenant: acme
    cpu_max: 0.5
    io_weight: 50
    memory_max: 256M
"""
PATIENCE_S = 300.0  # the guest is emulated; only ever spent by a failure


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def health() -> Any:
    return Api(SOCKET).get("/v1/health")


def session_from_unit(name: str) -> Any:
    """A session that a service of systemd has opened."""
    run(
        "systemd-run", "--wait", "--quiet", f"--unit=probe-{name}.service",
        "curl", "-sS", "--fail", "--unix-socket", str(SOCKET), "-d", json.dumps({"name": name}),
        "http://agentcg/v1/sessions",
    )  # fmt: skip
    return Api(SOCKET).get(f"/v1/sessions/{name}")


@pytest.fixture(autouse=True)
def daemon() -> Iterator[None]:
    """The daemon of the unit, and afterwards nothing that was not there before."""
    run("systemctl", "start", "agentcgd")
    POLICIES.mkdir(parents=True, exist_ok=True)
    yield
    SITE.unlink(missing_ok=True)
    until(lambda: health()["policy"] == "built-in default", PATIENCE_S)
    for name in ("first", "second"):
        Api(SOCKET).ask("DELETE", f"/v1/sessions/{name}")


def test_a_dropped_file_holds_and_a_bad_one_is_loud() -> None:
    """Nobody reloads anything: the file is in force, decides by the unit that a session comes
    from, and reaches the kernel; a bad one is told in status while the old one stays."""
    SITE.write_text(POLICY)
    until(lambda: health()["policy"] == str(POLICIES), PATIENCE_S)
    first = session_from_unit("first")
    assert (first["from_unit"], first["tenant"]) == ("probe-first.service", "acme")
    assert (SESSIONS / "first/cpu.max").read_text() == "50000 100000\n"
    weight = SESSIONS / "first/io.weight"
    absent = [c["name"] for c in health()["controls"] if c["state"] == "absent"]
    # Where the kernel has no io.weight, that it was asked for in vain is said.
    assert weight.read_text() == "default 50\n" if weight.exists() else "io.weight" in absent

    SITE.write_text(POLICY.replace("cpu_max: 0.5", "cpu_max: half"))
    until(lambda: health()["policy_error"] and health()["state"] == "degraded", PATIENCE_S)
    told = json.loads(run("agentcg", "status", "--json"))["health"]
    assert "50-site.yaml:7:14: sessions[0].cpu_max: 'half' is not valid" in told["policy_error"]
    session_from_unit("second")
    assert (SESSIONS / "second/cpu.max").read_text() == "50000 100000\n"
    shown = subprocess.run(
        ["agentcg", "policy", "show"], capture_output=True, text=True, check=False
    )
    assert (shown.returncode, "cpu_max: 0.5" in shown.stdout) == (5, True)
