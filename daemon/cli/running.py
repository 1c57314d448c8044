# SPDX-License-Identifier: Apache-2.0
"""What `agentcg run` does, without typer.

typer takes 25 to 90 ms to import, depending on its version; a third of all tool calls take
less than 100 ms themselves. So an `agentcg run` whose options are plainly right does not go
through typer: `parse` reads just what typer would accept in the same way, and leaves the rest
(mistakes, --help, attached values such as -m1G) to it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from agentcg.client.choice import choose_session
from agentcg.daemon.cli import values
from agentcg.daemon.cli.exits import NOT_STARTED, code_of, complain
from agentcg.daemon.client.calls import run_in_call
from agentcg.daemon.client.client import Client, socket_path
from agentcg.daemon.messages import BeginCall, CpuLevel
from agentcg.errors import AgentcgError, InvalidInput

COMMAND_MAX = 4096  # of messages.Command
TOOL_MAX = 64  # of messages.Tool

_SHORT = {"-s": "--session", "-t": "--tool", "-m": "--memory"}
_WITH_VALUE = frozenset({"--session", "--tool", "--memory", "--cpu", "--wait"})
_FLAG = "--strict"


@dataclass(frozen=True)
class RunOptions:
    """The options of `agentcg run` and its command."""

    command: tuple[str, ...]
    session: str | None = None
    tool: str | None = None
    memory_bytes: int | None = None
    cpu: str | None = None
    wait_s: float = 0.0
    strict: bool = False


def quick_run(arguments: Sequence[str]) -> int | None:
    """Run, and return the exit code; None if `arguments` are not for here."""
    options = parse(arguments)
    return None if options is None else execute(options, socket_path())


def execute(options: RunOptions, socket: Path) -> int:
    """Execute the command in a call; its status, or the exit code of what went wrong."""
    request = BeginCall(
        tool=text(options.tool or Path(options.command[0]).name or "command")[:TOOL_MAX],
        command=command_line(options.command),
        memory_bytes=options.memory_bytes,
        cpu=cast("CpuLevel | None", options.cpu),
        wait_s=options.wait_s,
    )
    try:
        session = choose_session(options.session)
    except InvalidInput as error:
        complain(error)
        return code_of(error)
    try:
        client = Client(socket)
        return run_in_call(client, session, options.command, request, strict=options.strict)
    except AgentcgError as error:
        complain(error)
        return NOT_STARTED


def command_line(argv: Sequence[str]) -> str:
    """`argv` as one line for people, at most as long as the API takes."""
    line = text(shlex.join(argv))
    return line if len(line) <= COMMAND_MAX else line[: COMMAND_MAX - 1] + "…"


def text(argument: str) -> str:
    """`argument` with bytes that are not UTF-8 as escapes, since JSON cannot carry them."""
    return os.fsencode(argument).decode("utf-8", "backslashreplace")


def parse(arguments: Sequence[str]) -> RunOptions | None:
    """Read the arguments after `run`; None for whatever typer has to see."""
    given: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        name, equals, value = rest.pop(0).partition("=")
        if name == _FLAG and not equals:
            given[name] = ""
            continue
        if name in _SHORT and not equals:
            name = _SHORT[name]
        if name not in _WITH_VALUE or not (equals or rest):
            return None
        given[name] = value if equals else rest.pop(0)
    command = rest[1:] if rest[:1] == ["--"] else rest
    return _options(command, given) if command else None


def _options(command: Sequence[str], given: dict[str, str]) -> RunOptions | None:
    memory, cpu, wait = (given.get(name) for name in ("--memory", "--cpu", "--wait"))
    try:
        return RunOptions(
            command=tuple(command),
            session=given.get("--session"),
            tool=given.get("--tool"),
            memory_bytes=None if memory is None else values.memory_size(memory),
            cpu=None if cpu is None else values.cpu_level(cpu),
            wait_s=0.0 if wait is None else values.wait_time(wait),
            strict=_FLAG in given,
        )
    except InvalidInput:
        return None
