# SPDX-License-Identifier: Apache-2.0
"""`agentcg events`: what happens, as it happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.daemon.cli.options import Json, SessionOption, client_of
from agentcg.daemon.cli.output import print_json_line
from agentcg.daemon.client.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agentcg.daemon.messages import Event

HELP = """Follow events: calls begun and ended, memory over the grant, OOM kills, pressure.

The stream survives a restart of the daemon. With --kept it starts with what the daemon still
remembers; with --json each line is one event as the API sends it.

\b
Examples:
  agentcg events
  agentcg events --session reviewer --json | jq -r .text
  agentcg events --kept --count 20

Exit codes: 0 after --count events or ^C; 3 if the daemon is not there (any more).
"""

FROM_THE_START = 0  # ids begin at 1


def events(
    ctx: typer.Context,
    session: SessionOption = None,
    kept: Annotated[bool, typer.Option("--kept", help="Begin with the events kept.")] = False,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="End after so many.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print events until ^C."""
    stream = client_of(ctx).events(session=session, last_id=FROM_THE_START if kept else None)
    try:
        for number, event in enumerate(_news(stream) if kept else stream, start=1):
            if as_json:
                print_json_line(event)
            else:
                typer.echo(event_line(event))
            if number == count:
                return
    except KeyboardInterrupt:
        return


def _news(stream: Iterable[Event]) -> Iterator[Event]:
    """`stream` but for a first word that what is not kept is lost: nobody asked for that."""
    for number, event in enumerate(stream):
        if number or event.kind != "events.lost":
            yield event


def event_line(event: Event) -> str:
    """An event for people: time, kind, whose, and what."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.time))
    whose = "/".join(part for part in (event.session, event.call) if part)
    said = event.text or (event.feedback.text if event.feedback else "")
    return printable(f"{clock} {event.kind:<16} {whose} {said}".rstrip())
