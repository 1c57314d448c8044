# SPDX-License-Identifier: Apache-2.0
"""`agentcg run`: its options and help, for typer."""

from __future__ import annotations

from typing import Annotated

import typer

from agentcg.daemon.cli.options import Cpu, memory_size, socket_of, wait_time
from agentcg.daemon.cli.running import RunOptions, execute

HELP = """Run a command as a tool call, in a resource domain of its own.

The command keeps its terminal, standard streams, environment, signals and exit status. If it
needs more memory than it was granted it is slowed down, and what the daemon has to say about
it is printed to standard error at the end. If the daemon is not there, slow or refuses, the
command runs anyway, and one line on standard error says so.

The session is the first of: --session, $AGENTCG_SESSION, the session that the caller is in,
"user-NAME" of the user. It is opened if there is none of this name.

\b
Examples:
  agentcg run -- pytest -x
  agentcg run --memory 2G --cpu low -- make -j4
  agentcg run --session reviewer --tool test --wait 30s -- npm test
  agentcg run -- sh -c 'make 2>&1 | tail'

\b
Exit codes:
  that of the command; 128+n if signal n ended it
  127  the command was not found
  126  it could not be executed
  125  agentcg could not start it (with --strict also: there is no call to run it in)
  2    a wrong option; nothing was executed
"""


def run(  # noqa: PLR0917 - typer passes options by name
    ctx: typer.Context,
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="-- COMMAND", show_default=False, help="The command and its arguments."
        ),
    ],
    session: Annotated[
        str | None, typer.Option("--session", "-s", metavar="NAME", help="Run in this session.")
    ] = None,
    tool: Annotated[
        str | None,
        typer.Option("--tool", "-t", metavar="NAME", help="The tool's name; else the program's."),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            "--memory", "-m", metavar="SIZE", parser=memory_size,
            help="Memory that it will need, such as 512M or 1.5G; else policy decides.",
        ),
    ] = None,
    cpu: Annotated[
        Cpu | None, typer.Option("--cpu", help="Share of the CPU when it is short.")
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait", metavar="TIME", parser=wait_time,
            help="Wait for room at most so long (up to 10m), then go ahead.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail (125) rather than run without a call.")
    ] = False,
) -> None:  # fmt: skip
    """Execute the command and end with its status."""
    options = RunOptions(
        command=tuple(command),
        session=session,
        tool=tool,
        memory_bytes=memory,
        cpu=cpu.value if cpu else None,
        wait_s=wait or 0.0,
        strict=strict,
    )
    raise typer.Exit(execute(options, socket_of(ctx)))
