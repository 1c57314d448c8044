# SPDX-License-Identifier: Apache-2.0
"""`agentcg host show|set`: the machine, and the bound over all sessions together."""

from __future__ import annotations

from typing import Annotated

import typer

from agentcg.daemon.cli import values
from agentcg.daemon.cli.options import Json, client_of, option_value
from agentcg.daemon.cli.output import print_json
from agentcg.units import format_size

SHOW_HELP = """The machine: memory, pressure, and what agents may have and use of it.

Exit codes: 0; 3 if the daemon is not there.
"""
SET_HELP = """Bound the memory of all sessions together (root and group agentcg).

\b
Examples:
  agentcg host set --memory-max 48G
  agentcg host set --memory-max none

Exit codes: 0; 2 invalid; 3 no daemon; 4 not permitted.
"""
NO_BOUND = 0  # typer's parsers cannot return None

host_app = typer.Typer(
    help="Show the host, or bound all sessions.", no_args_is_help=True, rich_markup_mode=None
)


def memory_bound(text: str) -> int:
    """A size, or `NO_BOUND` for "none"; raises `InvalidInput`."""
    return NO_BOUND if text == "none" else values.memory_size(text)


@host_app.command("show", help=SHOW_HELP)
def show(ctx: typer.Context, as_json: Json = False) -> None:
    """Show the host."""
    found = client_of(ctx).host()
    if as_json:
        print_json(found)
        return
    from agentcg.daemon.cli.view.details import host_details
    from agentcg.daemon.cli.view.screen import paint

    paint(host_details(found))


@host_app.command("set", help=SET_HELP)
def set_host(
    ctx: typer.Context,
    memory_max: Annotated[
        int,
        typer.Option(
            "--memory-max", metavar="SIZE|none", parser=option_value(memory_bound),
            show_default=False, help="Memory of all sessions together.",
        ),
    ],
    as_json: Json = False,
) -> None:  # fmt: skip
    """Set the bound."""
    changed = client_of(ctx).set_host_memory_max(memory_max or None)
    if as_json:
        print_json(changed)
    elif changed.memory_max_bytes is None:
        typer.echo("sessions together have no bound")
    else:
        typer.echo(f"sessions together may use {format_size(changed.memory_max_bytes)}")
