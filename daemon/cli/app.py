# SPDX-License-Identifier: Apache-2.0
"""The commands of `agentcg`, put together.

What a command needs for its work alone (rich, policies, cgroups) it imports itself, so that
all the others start without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from agentcg import __version__
from agentcg.daemon.cli.commands import (
    bench,
    bridge,
    calls,
    doctor,
    events,
    explain,
    forecast,
    history,
    hooks,
    host,
    intent,
    mcp,
    policy,
    replay,
    report,
    run,
    sched,
    sessions,
    simulate,
    status,
    top,
    tree,
    version,
)
from agentcg.daemon.cli.exits import INTERRUPTED, SUMMARY, code_of, complain
from agentcg.daemon.cli.handover import CONTEXT
from agentcg.daemon.client import socket_path
from agentcg.errors import AgentcgError

HELP = f"""Resource domains for the tool calls of AI agents.

`agentcg` asks the daemon, agentcgd, which gives every tool call a cgroup of its own.

\b
Examples:
  agentcg status --watch              what runs, what it uses, how it fares
  agentcg run --memory 1G -- pytest   a command as a tool call
  agentcg doctor                      what this host enforces, what is missing

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
            "--socket", metavar="PATH",
            help="Where the daemon listens. Else $AGENTCG_SOCKET, else "
            "/run/agentcg/agentcg.sock.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:  # fmt: skip
    """Keep the options that all commands share."""
    ctx.obj = socket or socket_path()


app.command("status", help=status.HELP, short_help="What runs, what it uses, how it fares.")(
    status.status
)
app.command("top", help=top.HELP, short_help="A live view; freeze, thaw and kill calls.")(top.top)
app.command("tree", help=tree.HELP, short_help="Sessions and calls as cgroups.")(tree.tree)
app.command("sessions", help=sessions.SESSIONS_HELP)(sessions.sessions)
app.command("calls", help=calls.CALLS_HELP, short_help="List calls, one line each.")(calls.calls)
# Options of `run` end at the command: `agentcg run ls -l` gives -l to ls.
app.command(
    "run",
    help=run.HELP,
    short_help="Run a command as a tool call.",
    context_settings={"allow_interspersed_args": False},
)(run.run)
app.command("events", help=events.HELP, short_help="Follow what happens.")(events.events)
app.command("bridge", help=bridge.HELP, short_help="Tell a serving layer what agents do.")(
    bridge.bridge
)
app.command("forecast", help=forecast.HELP, short_help="How long a call will still take.")(
    forecast.forecast
)
app.command("history", help=history.HELP, short_help="Ended calls, from disk.")(history.history)
app.command("record", help=report.RECORD_HELP, short_help="Record sessions into a directory.")(
    report.record
)
app.command("report", help=report.REPORT_HELP, short_help="A page about what sessions did.")(
    report.report
)
app.command("explain", help=explain.HELP, short_help="Why a call was slow, paused or killed.")(
    explain.explain
)
app.command("doctor", help=doctor.HELP, short_help="Check what holds on this host.")(doctor.doctor)
app.command("install-hooks", help=hooks.INSTALL_HELP, short_help="Hooks for a client of agents.")(
    hooks.install_hooks
)
app.command("mcp", help=mcp.HELP, short_help="Tools for the model itself (MCP).")(mcp.mcp)
app.command("hook", help=hooks.HOOK_HELP, short_help="What a client runs as its hook.")(hooks.hook)
app.add_typer(sessions.session_app, name="session")
app.add_typer(calls.call_app, name="call")
app.add_typer(intent.intent_app, name="intent")
app.add_typer(policy.policy_app, name="policy")
app.add_typer(host.host_app, name="host")
app.add_typer(sched.sched_app, name="sched")
app.add_typer(bench.bench_app, name="bench")
app.command("replay", context_settings=CONTEXT, short_help="Play recorded agent work.")(
    replay.replay
)
app.command("simulate", context_settings=CONTEXT, short_help="Simulate thousands of agents.")(
    simulate.simulate
)
app.command("version", help=version.HELP, short_help="Print versions.")(version.version)
