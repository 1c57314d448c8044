# SPDX-License-Identifier: Apache-2.0
"""The clients as they are in the guest: what each is told of agentcg, and how its model asks."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clients.catalogue import CLIENTS, DRIVERS, PROMPT, Client, Place
from clients.guest.programs import BINARIES, MINI, PROGRAMS
from systemd_support import PATIENCE_S

MINI_SESSION = "mini"
WAIT = f"{PATIENCE_S:.0f}s"


@dataclass(frozen=True)
class Agent:
    """`ask(memory, command)`: the call by which the model asks for room. `finish`: its last one.

    `session`: where its calls are, if it names one itself.
    """

    client: Client
    ask: Callable[[str, str], Any]
    finish: str | None = None
    session: str | None = None


def by_tool(memory: str, command: str) -> dict[str, Any]:
    """By the tool of `agentcg mcp`."""
    return {"tool": "mcp__agentcg__ask_for_room", "input": {"memory": memory, "command": command}}


def by_command(memory: str, command: str) -> str:
    """By the command line, as whoever has a shell alone."""
    return f"agentcg intent declare call --memory {memory} --command {shlex.quote(command)}"


def _install_hooks(name: str, home: Path) -> None:
    """As a user does it; the guest has no compiler, so the compiled hook is there already."""
    compiled = home / ".local/share/agentcg/bin"
    compiled.mkdir(parents=True)
    shutil.copy2(PROGRAMS / "agentcg-hook", compiled)
    command = ["agentcg", "install-hooks", name, "--wait", WAIT]
    subprocess.run(command, env=os.environ | {"HOME": str(home)}, check=True)


def _claude() -> Client:
    known = CLIENTS["claude-code"]
    server = {"mcpServers": {"agentcg": {"command": "agentcg", "args": ["mcp"]}}}

    def argv(place: Place) -> list[str]:
        _, *words = known.argv(place)
        words[words.index("Bash")] = "Bash,mcp__agentcg__ask_for_room"
        return [_program("claude-code"), *words, "--mcp-config", json.dumps(server)]

    # The preparation of the catalogue has hooks of its own.
    return replace(known, argv=argv, prepare=lambda place: _install_hooks(known.name, place.home))


def _codex() -> Client:
    known = CLIENTS["codex"]

    def argv(place: Place) -> list[str]:
        _, subcommand, *words = known.argv(place)
        return [_program("codex"), subcommand, "--dangerously-bypass-hook-trust", *words]

    def prepare(place: Place) -> None:
        known.prepare(place)
        _install_hooks("codex", place.home)
        with (place.home / ".codex/config.toml").open("a") as config:
            config.write('[mcp_servers.agentcg]\ncommand = "agentcg"\nargs = ["mcp"]\n')

    return replace(known, argv=argv, prepare=prepare)


def _mini() -> Client:
    known = CLIENTS["mini-swe-agent"]

    def env(place: Place) -> dict[str, str]:
        own = {"PYTHONPATH": str(PROGRAMS / MINI), "AGENTCG_SESSION": MINI_SESSION,
               "AGENTCG_SHELL": str(PROGRAMS / "agentcg-shell")}  # fmt: skip
        return {**known.env(place), **own}

    command = ["/usr/bin/python3", str(DRIVERS / "mini_driver.py"), PROMPT]
    return replace(known, argv=lambda place: command, env=env)


def _program(name: str) -> str:
    return str(PROGRAMS / BINARIES[name].name)


AGENTS = {
    "claude-code": Agent(_claude(), by_tool),
    "codex": Agent(_codex(), by_tool),
    "mini-swe-agent": Agent(_mini(), by_command, CLIENTS["mini-swe-agent"].finish, MINI_SESSION),
}
