# SPDX-License-Identifier: Apache-2.0
"""`agentcg calls` and `agentcg call show`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.daemon.cli.options import Json, SessionOption, call_id, client_of
from agentcg.daemon.cli.output import print_json
from agentcg.daemon.client.client import CALLS_LISTED_MAX

if TYPE_CHECKING:
    from agentcg.daemon.messages import Call

CALLS_HELP = """List calls: those that run or linger, or those in the given state.

\b
Examples:
  agentcg calls
  agentcg calls --session reviewer --state ended --limit 10
  agentcg calls --state all --json | jq '.calls[].account.memory_peak_bytes'

Exit codes: 0; 3 if the daemon is not there.
"""
SHOW_HELP = """Everything about one call: its grant and why, what it used, what was executed.

Exit codes: 0; 1 no such call; 3 no daemon; 4 not permitted.
"""

call_app = typer.Typer(
    help="Show, freeze, thaw or kill one call.", no_args_is_help=True, rich_markup_mode=None
)


class State(StrEnum):
    """Which calls to list."""

    RUNNING = "running"
    LINGERING = "lingering"
    ENDED = "ended"
    ALL = "all"


def calls(
    ctx: typer.Context,
    session: SessionOption = None,
    state: Annotated[
        State | None,
        typer.Option("--state", help="Only these; without it, those that run or linger."),
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", min=1, max=CALLS_LISTED_MAX, help="The latest so many."),
    ] = 256,
    as_json: Json = False,
) -> None:
    """List calls."""
    states = [State.RUNNING, State.LINGERING] if state is None else [state]
    client = client_of(ctx)
    found: list[Call] = []
    for one in states:
        wanted = None if one is State.ALL else one.value
        found += client.calls(session=session, state=wanted, limit=limit)
    if as_json:
        print_json({"calls": found})
        return
    from agentcg.daemon.cli.view.lists import calls_table
    from agentcg.daemon.cli.view.screen import list_width, paint

    paint(calls_table(found, list_width()))


_BY_HAND_CODES = "Exit codes: 0; 1 no such call, or it has ended; 3 no daemon; 4 not permitted."
_CallId = Annotated[str, typer.Argument(metavar="ID", parser=call_id, help="Id of the call.")]


@call_app.command(
    "freeze", help=f"Stop all processes of a call where they are, until `thaw`.\n\n{_BY_HAND_CODES}"
)
def freeze(ctx: typer.Context, call: _CallId) -> None:
    """Freeze one call."""
    client_of(ctx).by_hand(call, "freeze")


@call_app.command("thaw", help=f"Let a call that was frozen by hand go on.\n\n{_BY_HAND_CODES}")
def thaw(ctx: typer.Context, call: _CallId) -> None:
    """Thaw one call."""
    client_of(ctx).by_hand(call, "thaw")


@call_app.command(
    "kill", help=f"Kill all processes of a call; its agent is told who did.\n\n{_BY_HAND_CODES}"
)
def kill(ctx: typer.Context, call: _CallId) -> None:
    """Kill one call."""
    client_of(ctx).by_hand(call, "kill")


@call_app.command("show", help=SHOW_HELP)
def show_call(
    ctx: typer.Context,
    call: Annotated[str, typer.Argument(metavar="ID", parser=call_id, help="Id of the call.")],
    as_json: Json = False,
) -> None:
    """Show one call."""
    found = client_of(ctx).call(call)
    if as_json:
        print_json(found)
        return
    from agentcg.daemon.cli.view.details import call_details
    from agentcg.daemon.cli.view.screen import paint

    paint(call_details(found))
