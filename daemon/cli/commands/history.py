# SPDX-License-Identifier: Apache-2.0
"""`agentcg history`: ended calls and what they used, from disk."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.daemon.cli.options import Json, SessionOption, client_of, option_value
from agentcg.daemon.cli.output import print_json
from agentcg.daemon.messages import HistoryQuery
from agentcg.errors import InvalidInput
from agentcg.units import parse_duration

if TYPE_CHECKING:
    from agentcg.daemon.client import Client
    from agentcg.daemon.messages import Call

HELP = """Ended calls and what they used, also those of sessions that are closed: the latest last.

The daemon keeps them on disk for 30 days and up to 1G (agentcgd --history-age, --history-size).

\b
Examples:
  agentcg history --session reviewer --since 2h
  agentcg history --command pytest --limit 1000 --csv > tests.csv
  agentcg history --calibration --limit 2000      # how well calls were foreseen
  agentcg history --json | jq '.calls[] | [.command, .account.memory_peak_bytes]'

Exit codes: 0; 3 no daemon.
"""
LIMIT_MAX = 1_000_000


@option_value
def moment(text: str) -> float:
    """A time of day, or how long ago, as seconds since the epoch."""
    try:
        return max(0.0, time.time() - parse_duration(text))
    except InvalidInput:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise InvalidInput(
            "time", text, "how long ago (2h, 3d) or a time (2026-03-01, 2026-03-01T14:00)"
        ) from None


def history(
    ctx: typer.Context,
    *,
    session: SessionOption = None,
    tool: Annotated[
        str | None, typer.Option("--tool", "-t", metavar="NAME", help="Calls of this tool only.")
    ] = None,
    command: Annotated[
        str | None,
        typer.Option("--command", "-c", metavar="TEXT", help="With this in the command."),
    ] = None,
    since: Annotated[
        float | None,
        typer.Option("--since", metavar="TIME", parser=moment, help="Ended since: 2h, 2026-03-01."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=LIMIT_MAX, help="The latest so many.")
    ] = 50,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A line each, for spreadsheets.")] = False,
    calibration: Annotated[
        bool,
        typer.Option("--calibration", help="How many calls lay within what was foreseen of them."),
    ] = False,
) -> None:
    """List ended calls from disk."""
    if as_json and as_csv:
        raise InvalidInput("--csv", "--json", "one of the two")
    if calibration and as_csv:
        raise InvalidInput("--csv", "--calibration", "one of the two")
    query = HistoryQuery(session=session, tool=tool, command=command, since=since)
    found = list(kept_calls(client_of(ctx), query, limit))[::-1]
    if calibration:
        _calibration(found, as_json=as_json)
    elif as_json:
        print_json({"calls": found})
    elif as_csv:
        from agentcg.daemon.cli.view.csv import write_calls

        write_calls(found, sys.stdout)
    else:
        from agentcg.daemon.cli.view.lists import history_table
        from agentcg.daemon.cli.view.screen import list_width, paint

        paint(history_table(found, list_width()))


def _calibration(found: list[Call], *, as_json: bool) -> None:
    from agentcg.daemon.cli.view.calibration import calibration_table, judged
    from agentcg.daemon.cli.view.screen import list_width, paint

    result = judged(found)
    if as_json:
        named = {
            what: {category: one._asdict() for category, one in groups.items()}
            for what, groups in result.items()
        }
        print_json({"calibration": named})
    else:
        paint(calibration_table(result, list_width()))


def kept_calls(client: Client, query: HistoryQuery, limit: int) -> Iterator[Call]:
    """The latest `limit` calls that match, the latest first, page by page."""
    from msgspec.structs import replace

    from agentcg.daemon.messages import HISTORY_LISTED_MAX

    while limit > 0:
        page = client.history(replace(query, limit=min(limit, HISTORY_LISTED_MAX)))
        yield from page.calls
        limit -= len(page.calls)
        if page.next_before is None:
            return
        query = replace(query, before=page.next_before)
