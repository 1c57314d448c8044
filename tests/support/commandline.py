# SPDX-License-Identifier: Apache-2.0
"""`agentcg` as a process of its own, as its users start it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main

from agentcg.daemon.cli.app import app

# root's commands are born in their cgroup, everybody else's are placed by pid: a test can
# have either, whoever runs it.
_MAIN = """
import os, sys
euid = {euid!r}
if euid is not None:
    os.geteuid = lambda: euid
sys.argv[0] = "agentcg"
from agentcg.daemon.cli import main
main()
"""


def command(*arguments: str, euid: int | None = None) -> list[str]:
    """The argument list that starts `agentcg arguments...`."""
    return [sys.executable, "-c", _MAIN.format(euid=euid), *arguments]


def environment(socket: Path, **more: str) -> dict[str, str]:
    """An environment in which agentcg speaks to `socket` and to nothing else of the host."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AGENTCG_")}
    return kept | {"AGENTCG_SOCKET": str(socket), "COLUMNS": "80"} | more


def agentcg(
    socket: Path, *arguments: str, euid: int | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `agentcg arguments...` to its end."""
    return subprocess.run(
        command(*arguments, euid=euid), env=environment(socket), text=True,
        capture_output=True, check=False, timeout=60, **options,
    )  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a command printed and how it ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Everything that was printed."""
        return self.stdout + self.stderr


def cli(socket: Path, *arguments: str) -> Result:
    """`agentcg --socket SOCKET arguments...` inside this process: quick, and enough for what
    does not start processes. typer's own CliRunner keeps the two streams apart in some
    releases only."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            typer.main.get_command(app)(["--socket", str(socket), *arguments], "agentcg")
        except SystemExit as end:
            code = end.code
    return Result(code or 0, out.getvalue(), err.getvalue())
