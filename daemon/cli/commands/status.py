# SPDX-License-Identifier: Apache-2.0
"""`agentcg status`: sessions and calls, what they use and how they fare."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.daemon.cli.options import Json, client_of
from agentcg.daemon.cli.output import print_json
from agentcg.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from agentcg.daemon.cli.snapshot import Snapshot
    from agentcg.daemon.client import Client

HELP = """Sessions and calls: what runs, what it uses, how it fares.

MEMORY is use against the limit that binds (memory.high or memory.max; for a call its grant).
CPU is in percent of one core. STALL is, for a session, the share of the last 10 s in which
something waited for memory (PSI some), for a call the share of its life that it spent
throttled at its grant. TIME is how long the phase or the call has lasted.

A session with no room is one whose agent can itself have no more memory; it goes on when others
have ended (agentcg session show NAME).

\b
States of a call:
  running    within its grant
  throttled  at its grant: the kernel slows it down and reclaims
  lingering  it has ended, and left processes behind
  oom        the kernel killed in it

With --calls there are no sessions but a line for each call, whoever began it: how it was found
(declared, hook, environment, signature, generic; with "+" where parts of another call may be in
it), and the CPU time that it has used so far.

\b
Examples:
  agentcg status
  agentcg status --watch          once a second, until ^C
  agentcg status --calls          calls alone, with how each was found
  agentcg status --json | jq '.sessions[] | {name, memory_current_bytes}'

Exit codes: 0; 3 if the daemon is not there.
"""

CPU_SPAN_S = 0.2  # between the two looks that CPU use is worked out from
REFRESH_S = 1.0


def status(
    ctx: typer.Context,
    as_json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Refresh once a second, until ^C.")
    ] = False,
    calls: Annotated[
        bool, typer.Option("--calls", help="Calls alone, with how each was found.")
    ] = False,
) -> None:
    """Print the status page."""
    if as_json and watch:
        raise InvalidInput("--watch", "--json", "one of the two; for a stream: agentcg events")
    client = client_of(ctx)
    if as_json:
        _print_json(client, calls=calls)
    elif watch:
        _watch(client, calls=calls)
    else:
        _print(client, calls=calls)


def _print_json(client: Client, *, calls: bool) -> None:
    """One object, the parts as the API has them."""
    from agentcg.daemon.cli.snapshot import take

    look = take(client)
    if calls:
        print_json({"calls": look.calls})
        return
    print_json(
        {
            "health": look.health,
            "host": look.host,
            "sessions": look.sessions,
            "calls": look.calls,
        }
    )


def _print(client: Client, *, calls: bool) -> None:
    from agentcg.daemon.cli.snapshot import take
    from agentcg.daemon.cli.view.screen import page_size, paint
    from agentcg.daemon.cli.view.status import page

    before: Snapshot | None = None
    now = take(client)
    if now.sessions and not calls:
        time.sleep(CPU_SPAN_S)
        before, now = now, take(client)
    paint(page(now, before, page_size()[0], calls=calls))


def _watch(client: Client, *, calls: bool) -> None:
    """Refresh in place; a daemon that goes away is said on the page until it is back."""
    from rich.live import Live

    from agentcg.daemon.cli.snapshot import take
    from agentcg.daemon.cli.view.screen import console, is_live, joined, page_size
    from agentcg.daemon.cli.view.status import page

    if not is_live():
        raise InvalidInput("--watch", "standard output", "a terminal; else use: agentcg status")
    before: Snapshot | None = None
    now = take(client)
    gone = ""
    signal.signal(signal.SIGTERM, _leave)  # not before Live has given the screen back
    try:
        with Live(console=console(), screen=True, auto_refresh=False) as live:
            while True:
                lines = page(now, before, *page_size(), gone=gone, calls=calls)
                live.update(joined(lines), refresh=True)
                time.sleep(REFRESH_S)
                try:
                    latest = take(client)
                except Unavailable as error:
                    gone = error.message
                else:
                    before, now, gone = now, latest, ""
    except KeyboardInterrupt:
        return


def _leave(number: int, _: object) -> None:
    raise typer.Exit(128 + number)
