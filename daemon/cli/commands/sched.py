# SPDX-License-Identifier: Apache-2.0
"""`agentcg sched`: which CPU scheduler is in charge, and what agentcg's does."""

from __future__ import annotations

import typer

from agentcg.daemon.cli.options import Json, client_of
from agentcg.daemon.cli.output import print_json
from agentcg.errors import Unavailable

HELP = """Which CPU scheduler is in charge of this host."""
STATUS_HELP = """Which scheduler is loaded, whether agentcg's could be, and memory delay.

\b
Examples:
  agentcg sched status
  agentcg sched status --json | jq -r .loaded

Exit codes: 0.
"""
_NAMES = ("scheduler", "memory delay", "memcg struct_ops")

sched_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)


@sched_app.command("status", help=STATUS_HELP, short_help="Which scheduler is in charge.")
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Print what sysfs says, and what the daemon says of its own."""
    from agentcg.bpf.scheduler import absence, loaded

    name, missing = loaded(), absence()
    try:
        controls = [c for c in client_of(ctx).health().controls if c.name in _NAMES]
    except Unavailable:
        controls = []
    if as_json:
        print_json({"loaded": name, "missing": missing, "controls": controls})
        return
    typer.echo(f"in charge: {name or 'the kernel itself'}")
    if missing:
        typer.echo(f"agentcg's cannot be loaded: {missing}")
    for control in controls:
        detail = f": {control.detail}" if control.detail else ""
        typer.echo(f"{control.name}: {control.state}{detail}")
