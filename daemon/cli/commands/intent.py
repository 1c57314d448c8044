# SPDX-License-Identifier: Apache-2.0
"""`agentcg intent declare|list`: what a session says that it will need."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.daemon.cli.options import (
    Cpu,
    Json,
    SessionOption,
    client_of,
    memory_size,
    time_span,
)
from agentcg.daemon.cli.output import print_json
from agentcg.daemon.client.choice import choose_session
from agentcg.daemon.messages import DeclareIntent

if TYPE_CHECKING:
    from agentcg.daemon.messages import CpuLevel, IntentKind

DECLARE_HELP = """Declare what will be needed. It shapes the next grant; it reserves nothing.

\b
Kinds:
  call        a tool call is to come, with --memory, --cpu, --in, --for
  generating  the model is writing; a call may follow
  idle        nothing for a while (--for)
  release     forget what was declared before

\b
Examples:
  agentcg intent declare call --tool pytest --memory 1.5G --for 2m
  agentcg intent declare generating --in 20s
  agentcg intent declare idle --for 10m --session reviewer

Exit codes: 0; 1 no such session or a limit; 2 invalid; 3 no daemon; 4 not permitted.
"""
LIST_HELP = """List a session's declarations that still hold.

Exit codes: 0; 1 no such session; 3 no daemon; 4 not permitted.
"""

intent_app = typer.Typer(
    help="Declare what will be needed, or list it.", no_args_is_help=True, rich_markup_mode=None
)


class Kind(StrEnum):
    """`messages.IntentKind`; older typers know no Literal."""

    CALL = "call"
    GENERATING = "generating"
    IDLE = "idle"
    RELEASE = "release"


@intent_app.command("declare", help=DECLARE_HELP)
def declare(  # noqa: PLR0917 - typer passes options by name
    ctx: typer.Context,
    kind: Annotated[Kind, typer.Argument(help="What is declared.", show_default=False)],
    session: SessionOption = None,
    tool: Annotated[str | None, typer.Option("--tool", "-t", metavar="NAME", help="Tool.")] = None,
    command: Annotated[
        str | None, typer.Option("--command", metavar="LINE", help="Command line.")
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option("--memory", "-m", metavar="SIZE", parser=memory_size, help="Such as 1.5G."),
    ] = None,
    cpu: Annotated[Cpu | None, typer.Option("--cpu", help="Share of the CPU.")] = None,
    start_in: Annotated[
        float | None,
        typer.Option("--in", metavar="TIME", parser=time_span, help="When it starts."),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option("--for", metavar="TIME", parser=time_span, help="How long it lasts."),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option("--deadline", metavar="TIME", parser=time_span, help="When it must be done."),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", min=0, max=1, help="How sure, 0 to 1.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Declare an intent."""
    named: IntentKind = kind.value
    level: CpuLevel | None = cpu.value if cpu else None
    request = DeclareIntent(
        kind=named,
        tool=tool,
        command=command,
        memory_bytes=memory,
        cpu=level,
        start_in_s=start_in,
        duration_s=duration,
        deadline_s=deadline,
        confidence=confidence,
    )
    kept = client_of(ctx).declare(choose_session(session), request)
    if as_json:
        print_json(kept)
    else:
        typer.echo(f"intent {kept.id} of session {kept.session} is declared")


@intent_app.command("list", help=LIST_HELP)
def list_intents(ctx: typer.Context, session: SessionOption = None, as_json: Json = False) -> None:
    """List intents."""
    found = client_of(ctx).intents(choose_session(session))
    if as_json:
        print_json({"intents": found})
        return
    from agentcg.daemon.cli.view.lists import intents_table
    from agentcg.daemon.cli.view.screen import list_width, paint

    paint(intents_table(found, list_width()))
