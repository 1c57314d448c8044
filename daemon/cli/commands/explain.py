# SPDX-License-Identifier: Apache-2.0
"""`agentcg explain`: what was decided about a call, what was done to it, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.daemon.cli.options import Json, client_of, option_value
from agentcg.daemon.cli.output import print_json
from agentcg.daemon.cli.view.timeline import lines_of, timeline
from agentcg.errors import InvalidInput, NotFound
from agentcg.naming import check_id, check_name

if TYPE_CHECKING:
    from agentcg.daemon.client import Client
    from agentcg.daemon.messages import Action, Call

CALLS_MAX = 50
HELP = """Why a call was granted what it got, and why it waited, was slow, paused or killed; for a
session, the same of its latest calls. One line a step, the oldest first: when, what, on whom,
why with the numbers that led to it, and the rule that decided (file:line of the policy, or
the name of what is built in). Calls that ended long ago, and those of closed sessions, are
looked for in the history.

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
    """Print what happened to the call, or in the session, the oldest first."""
    calls, actions = found(client_of(ctx), whose)
    if as_json:
        print_json({"calls": calls, "actions": actions})
        return
    for line in lines_of(timeline(calls, actions)):
        typer.echo(line)
    if not calls and not actions:
        typer.echo("there is nothing to explain: no call has begun, and nothing was done")


def found(client: Client, whose: str) -> tuple[list[Call], list[Action]]:
    """The call of this id and what was done to it or, where there is none, the latest calls of the
    session of this name and what was done in it. Ended ones come from the history, too."""
    try:
        call_id = check_id(whose)
        return [client.call(call_id)], client.actions(call=call_id)
    except (NotFound, InvalidInput):
        pass
    try:
        actions = client.actions(session=whose)
    except NotFound:
        return _closed(client, whose)
    return client.calls(session=whose, limit=CALLS_MAX), actions


def _closed(client: Client, name: str) -> tuple[list[Call], list[Action]]:
    """The same of a session that is closed, from the history. Raises `NotFound`."""
    from agentcg.daemon.messages import HistoryQuery

    calls = client.history(HistoryQuery(session=name, limit=CALLS_MAX)).calls
    if not calls:
        raise NotFound(f"there is no call and no session {name!r}, and none in the history")
    return calls[::-1], [action for call in calls for action in client.actions(call=call.id)]
