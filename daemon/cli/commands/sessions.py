# SPDX-License-Identifier: Apache-2.0
"""`agentcg sessions` and `agentcg session open|close|show`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.daemon.cli.options import Json, SessionArgument, client_of
from agentcg.daemon.cli.output import print_json
from agentcg.daemon.messages import OpenSession
from agentcg.errors import InvalidInput

if TYPE_CHECKING:
    from agentcg.daemon.messages import Priority

SESSIONS_HELP = """List the sessions, one line each.

\b
Examples:
  agentcg sessions
  agentcg sessions --json | jq -r '.sessions[].name'

Exit codes: 0; 3 if the daemon is not there.
"""
OPEN_HELP = """Open a session, or find the one of this name (then nothing of it is changed).

The processes given with --pid, and their children to come, are the agent itself: they move
into the session's runtime cgroup, which is protected from the calls.

\b
Examples:
  agentcg session open reviewer --priority high --pid 4711
  agentcg session open reviewer --label project=web --label ticket=42

Exit codes: 0; 1 a conflict or a limit; 2 invalid; 3 no daemon; 4 not permitted.
"""
CLOSE_HELP = """Close a session. Refused while processes live in it, unless --kill ends them.

Exit codes: 0; 1 no such session, or it has processes; 3 no daemon; 4 not permitted.
"""
SHOW_HELP = """Everything about one session: limits, use, cgroup, rule.

Exit codes: 0; 1 no such session; 3 no daemon; 4 not permitted.
"""

session_app = typer.Typer(
    help="Open, close or show one session.", no_args_is_help=True, rich_markup_mode=None
)


class PriorityName(StrEnum):
    """`messages.Priority`; older typers know no Literal."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


def sessions(ctx: typer.Context, as_json: Json = False) -> None:
    """List the sessions."""
    found = client_of(ctx).sessions()
    if as_json:
        print_json({"sessions": found})
        return
    from agentcg.daemon.cli.view.lists import sessions_table
    from agentcg.daemon.cli.view.screen import list_width, paint

    paint(sessions_table(found, list_width()))


@session_app.command("open", help=OPEN_HELP)
def open_session(  # noqa: PLR0917 - typer passes options by name
    ctx: typer.Context,
    name: SessionArgument,
    priority: Annotated[
        PriorityName | None, typer.Option("--priority", "-p", help="Else policy decides.")
    ] = None,
    weight: Annotated[
        int | None,
        typer.Option(
            "--weight", min=1, max=10000, help="Share among sessions of the same priority."
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="KEY=VALUE", help="For policies; may be repeated."),
    ] = None,
    pid: Annotated[
        list[int] | None,
        typer.Option("--pid", min=1, help="A process of the agent; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Open a session."""
    chosen: Priority | None = priority.value if priority else None
    request = OpenSession(
        name=name,
        priority=chosen,
        weight=weight,
        labels=dict(_label(text) for text in label or ()),
        pids=pid or [],
    )
    opened = client_of(ctx).open_session(request)
    if as_json:
        print_json(opened)
    else:
        typer.echo(f"session {opened.name} is open: {opened.cgroup}")


@session_app.command("close", help=CLOSE_HELP)
def close_session(
    ctx: typer.Context,
    name: SessionArgument,
    kill: Annotated[
        bool, typer.Option("--kill", help="Kill every process in it, the agent's included.")
    ] = False,
) -> None:
    """Close a session."""
    client_of(ctx).close_session(name, kill=kill)
    typer.echo(f"session {name} is closed")


@session_app.command("show", help=SHOW_HELP)
def show_session(ctx: typer.Context, name: SessionArgument, as_json: Json = False) -> None:
    """Show one session."""
    found = client_of(ctx).session(name)
    if as_json:
        print_json(found)
        return
    from agentcg.daemon.cli.view.details import session_details
    from agentcg.daemon.cli.view.screen import paint

    paint(session_details(found))


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InvalidInput("--label", text, "KEY=VALUE")
    return key, value
