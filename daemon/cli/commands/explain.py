# SPDX-License-Identifier: Apache-2.0
"""`agentcg explain`: why a call was slow, paused or killed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.daemon.cli.options import Json, client_of, option_value
from agentcg.daemon.cli.output import print_json
from agentcg.daemon.client.client import check_id, check_name
from agentcg.daemon.client.text import printable
from agentcg.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from agentcg.daemon.client import Client
    from agentcg.daemon.messages import Action

HELP = """Why a call was slow, paused or killed: what was done to it, or in a session, when memory
was short; each step with the numbers that led to it and the rule.

\b
Examples:
  agentcg explain k3f9a2b7
  agentcg explain reviewer --json | jq -r '.actions[].reason'

Exit codes: 0; 1 no such call or session; 3 no daemon; 4 not permitted.
"""


@option_value
def call_or_session(text: str) -> str:
    """`text` if it can be an id or a name."""
    return check_name(text)  # ids of calls are names, too


def explain(
    ctx: typer.Context,
    whose: Annotated[
        str,
        typer.Argument(
            metavar="CALL|SESSION", parser=call_or_session, help="Id of a call, or a session."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Print the actions on a call or in a session, the oldest first."""
    found = actions_of(client_of(ctx), whose)
    if as_json:
        print_json({"actions": found})
        return
    for action in found:
        typer.echo(action_line(action))
    if not found:
        typer.echo("nothing was done: it was neither slowed nor paused nor killed by agentcg")


def actions_of(client: Client, whose: str) -> list[Action]:
    """Actions on the call of this id or, where there is none, in the session of this name."""
    try:
        return client.actions(call=check_id(whose))
    except (NotFound, InvalidInput):
        return client.actions(session=whose)


def action_line(action: Action) -> str:
    """An action for people: time, kind, on whom, why, by which rule."""
    clock = time.strftime("%H:%M:%S", time.localtime(action.time))
    whose = "/".join(part for part in (action.session, action.call) if part)
    return printable(f"{clock} {action.kind:<10} {whose} {action.reason} [{action.rule}]")
