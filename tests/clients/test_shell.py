# SPDX-License-Identifier: Apache-2.0
"""Claude Code without hooks: its shells place themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agentcg import native
from clients.catalogue import CLIENTS, Client, Place
from clients.play import play
from daemon_support import Daemon, fresh, own_daemon


@pytest.fixture(scope="module")
def blind() -> Iterator[Daemon]:
    """A daemon that sees no processes: what is a call has asked for it."""
    with own_daemon() as running:
        yield running


@pytest.mark.parametrize("way", ["prefix", "path"])
def test_every_command_is_a_call(way: str, blind: Daemon, tmp_path: Path) -> None:
    """By CLAUDE_CODE_SHELL_PREFIX, or by a shell of the name bash; hooks are no calls."""
    program = native.build(tmp_path, "agentcg-shell")
    (tmp_path / "bash").symlink_to(program)
    session = fresh()
    blind.open(session, labels={"client": "claude-code"})
    known = CLIENTS["claude-code"]

    def env(place: Place) -> dict[str, str]:
        ways = {
            "prefix": {"CLAUDE_CODE_SHELL_PREFIX": str(program)},
            "path": {"CLAUDE_CODE_SHELL": str(tmp_path / "bash"), "SHELL": str(tmp_path / "bash")},
        }
        return {
            **known.env(place), **ways[way],
            "AGENTCG_SOCKET": str(blind.path), "AGENTCG_SESSION": session,
        }  # fmt: skip

    client: Client = replace(known, env=env)
    commands = ["echo 'a b'", "exit 3", "sleep 0.1 & wait"]
    said = play(client, [[command] for command in commands])
    found = [call["command"] for call in blind.get(f"/v1/calls?session={session}")["calls"]]
    assert [command for command in found if command in commands] == commands
    assert len(found) == 3, found
    assert "Exit code 3" in said["heard"][2]
