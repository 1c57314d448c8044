# SPDX-License-Identifier: Apache-2.0
"""agentcg's integrations in the real frameworks, each in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentcg import native
from clients.catalogue import CLIENTS, DRIVERS
from clients.install import installed
from daemon_support import Daemon, fresh, own_daemon

SOURCES = Path(__file__).parents[2] / "src"
COMMANDS = ["echo 'it''s one'", "exit 3", "(sleep 30 > /dev/null 2>&1 &) ; echo left"]
FRAMEWORKS = {
    "langchain": "langgraph", "langchain-async": "langgraph", "mini-swe-agent": "mini-swe-agent",
    "swe-rex": "swe-rex",
}  # fmt: skip


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


@pytest.fixture(scope="module")
def helper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native.build(tmp_path_factory.mktemp("bin"), "agentcg-shell")


def run(framework: str, socket: Path, session: str, helper: Path, commands: list[str]) -> Any:
    """What the framework got for each command."""
    folder = installed(CLIENTS[FRAMEWORKS[framework]])
    env = {
        "PATH": f"{folder}/bin:/usr/bin:/bin", "HOME": os.environ["HOME"], "LANG": "C.UTF-8",
        "PYTHONPATH": str(SOURCES), "AGENTCG_SOCKET": str(socket), "AGENTCG_SESSION": session,
        "AGENTCG_SHELL": str(helper), "MSWEA_SILENT_STARTUP": "1",
    }  # fmt: skip
    done = subprocess.run(
        [folder / "bin/python", DRIVERS / "integrated.py", framework, *commands],
        env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_command_is_a_call(framework: str, daemon: Daemon, helper: Path) -> None:
    """Begun with its command, ended with its status where the framework knows it."""
    name = fresh()
    commands = COMMANDS if framework == "mini-swe-agent" else COMMANDS[:1]
    try:
        said = run(framework, daemon.path, name, helper, commands)
        calls = daemon.get(f"/v1/calls?session={name}")["calls"]
    finally:
        daemon.ask("DELETE", f"/v1/sessions/{name}?kill=true")
    assert [call["command"] for call in calls][: len(commands)] == commands
    assert {call["state"] for call in calls} <= {"ended", "lingering"}
    assert "its one" in said[0]
    if framework == "mini-swe-agent":
        assert [call["exit_status"] for call in calls] == [0, 3, 0]
        assert said[1].startswith("3 ")
        # In its call from the start, and the model reads what it left running.
        assert "agentcg: 1 process" in said[2]
    if framework == "swe-rex":
        assert [call["command"] for call in calls] == [*commands, "echo by itself"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_without_a_daemon(framework: str, helper: Path, tmp_path: Path) -> None:
    """The same results as with one."""
    said = run(framework, tmp_path / "absent", "s", helper, COMMANDS[:1])
    assert "its one" in said[0]
    assert "agentcg" not in str(said)
