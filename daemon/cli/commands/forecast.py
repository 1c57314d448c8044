# SPDX-License-Identifier: Apache-2.0
"""`agentcg forecast`: how long a call will still take, and how much it will hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.client.choice import choose_session
from agentcg.daemon.cli.options import Json, SessionOption, call_id, client_of
from agentcg.daemon.cli.output import print_json
from agentcg.daemon.messages import ForecastQuery
from agentcg.errors import InvalidInput
from agentcg.units import format_duration, format_size

if TYPE_CHECKING:
    from agentcg.daemon.messages import Forecast

HELP = """How long a call will still take and how much it will hold at most: quantiles.

Of a running call they follow from how long it has run and what it has held; of one that
has not begun, from its tool and command. What they rest on: the session's own earlier calls
first, then those of other sessions. `agentcg history --calibration` says how well they hold.

\b
Examples:
  agentcg forecast k3qv7a2m
  agentcg forecast --tool Bash --command "pytest -q" --session reviewer --json

Exit codes: 0; 1 no such call or session; 2 invalid; 3 no daemon; 4 not permitted.
"""


def forecast(
    ctx: typer.Context,
    *,
    call: Annotated[
        str | None, typer.Argument(metavar="CALL", parser=call_id, help="A running call.")
    ] = None,
    session: SessionOption = None,
    tool: Annotated[str | None, typer.Option("--tool", "-t", metavar="NAME", help="Tool.")] = None,
    command: Annotated[
        str | None, typer.Option("--command", "-c", metavar="LINE", help="Command line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Foresee a call."""
    if (call is None) == (tool is None):
        raise InvalidInput("--tool", tool, "a running call, or --tool, one of the two")
    if call is not None:
        query = ForecastQuery(call=call)
    else:
        query = ForecastQuery(session=choose_session(session), tool=tool, command=command)
    found = client_of(ctx).forecast(query)
    if as_json:
        print_json(found)
        return
    for line in lines(found):
        typer.echo(line)


def lines(found: Forecast) -> Iterator[str]:
    """A forecast for people."""
    rest, peak = found.remaining_s, found.peak_bytes
    what = "still takes" if found.call is not None else "takes"
    yield (
        f"{what} {format_duration(rest.p50)} at the median, 90% at most "
        f"{format_duration(rest.p90)}, 99% {format_duration(rest.p99)}"
    )
    yield (
        f"holds {format_size(int(peak.p50))} at the median, 90% at most "
        f"{format_size(int(peak.p90))}, 99% {format_size(int(peak.p99))}"
    )
    yield f"from {found.own_calls} calls of the session and {found.other_calls} of others"
