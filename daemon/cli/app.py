# SPDX-License-Identifier: Apache-2.0
"""The commands of `agentcg`, put together.

What a command needs for its work alone (rich, policies, cgroups) it imports itself: this
module is imported at every start, also at that of `agentcg run`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from agentcg import __version__
from agentcg.daemon.cli.commands import run, status
from agentcg.daemon.cli.exits import INTERRUPTED, SUMMARY, code_of, complain
from agentcg.daemon.client import socket_path
from agentcg.errors import AgentcgError

HELP = f"""Resource domains for the tool calls of AI agents.

`agentcg` asks the daemon, agentcgd, which gives every tool call a cgroup of its own.

\b
Examples:
  agentcg status --watch                 what runs, what it uses, how it fares
  agentcg run --memory 1G -- pytest      a command as a tool call
  agentcg doctor                         what this kernel enforces, and what is missing

{SUMMARY}
"""


class Boundary(TyperGroup):
    """The commands, with errors of the tree turned into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except AgentcgError as error:
            complain(error)
            raise typer.Exit(code_of(error)) from error
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="agentcg",
    cls=Boundary,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"agentcg {__version__}")
        raise typer.Exit


@app.callback()
def choose(
    ctx: typer.Context,
    socket: Annotated[
        Path | None,
        typer.Option(
            "--socket",
            metavar="PATH",
            envvar="AGENTCG_SOCKET",
            show_envvar=False,
            help="Where the daemon listens, if not at /run/agentcg/agentcg.sock ($AGENTCG_SOCKET).",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Keep the options that all commands share."""
    ctx.obj = socket or socket_path()


app.command("status", help=status.HELP)(status.status)
# Options of `run` end at the command: `agentcg run ls -l` gives -l to ls.
app.command("run", help=run.HELP, context_settings={"allow_interspersed_args": False})(run.run)
