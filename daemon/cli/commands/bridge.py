# SPDX-License-Identifier: Apache-2.0
"""`agentcg bridge`: tell a serving layer what agents do, by HTTP."""

from __future__ import annotations

import json
import urllib.request
from enum import StrEnum
from http.client import HTTPException
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from agentcg.daemon.cli.options import SessionOption, client_of
from agentcg.errors import InvalidInput

HELP = """Tell a serving layer what agents do: events are sent to a URL as they happen.

\b
Formats:
  webhook       begins and ends of sessions and calls, changes of phase; a call that
                begins comes with how long it takes and, with --tokens, for how long
                its KV cache is worth keeping (kv_ttl_s)
  thunderagent  programs that are over are released (POST URL/programs/release); with
                --programs also the other way: for sessions of the same names it is
                declared that the model writes, or that a program is paused
                (GET URL/programs, each second)

A receiver that is away or slow misses events; it delays this bridge, and no agent.

\b
Examples:
  agentcg bridge --to http://127.0.0.1:8080/agents --tokens 20000 --prefill 5000
  agentcg bridge --to http://127.0.0.1:9000 --format thunderagent --programs

Exit codes: 0; 2 invalid; 3 no daemon.
"""
POST_S = 2.0


class Format(StrEnum):
    """What is sent."""

    WEBHOOK = "webhook"
    THUNDERAGENT = "thunderagent"


def bridge(
    ctx: typer.Context,
    *,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="http:// or https://.")],
    format_: Annotated[Format, typer.Option("--format", help="What is sent.")] = Format.WEBHOOK,
    programs: Annotated[
        bool, typer.Option("--programs", help="Declare what ThunderAgent tells of its programs.")
    ] = False,
    session: SessionOption = None,
    tokens: Annotated[
        int, typer.Option("--tokens", min=0, max=10_000_000, help="Of a context; 0: no kv_ttl_s.")
    ] = 0,
    prefill: Annotated[
        float, typer.Option("--prefill", min=1, max=1e9, help="Tokens a second of the engine.")
    ] = 5000.0,
    queue: Annotated[
        float, typer.Option("--queue", min=0, max=3600, help="Seconds of waiting after a miss.")
    ] = 0.0,
    share: Annotated[
        float, typer.Option("--share", min=0, max=1, help="Of the KV memory, of a context.")
    ] = 0.01,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after so many that were sent.")
    ] = None,
) -> None:
    """Follow events and send them."""
    import msgspec

    from agentcg.serving import Costs, thunderagent, webhook

    if urlsplit(to).scheme not in ("http", "https") or not urlsplit(to).netloc:
        raise InvalidInput("--to", to, "a URL with http:// or https:// and a host")
    if programs:
        if format_ is not Format.THUNDERAGENT:
            raise InvalidInput("--programs", "true", "with --format thunderagent alone")
        from agentcg.daemon.cli.commands.bridge_programs import Programs

        Programs(to.rstrip("/"), client_of(ctx)).start()
    costs = Costs(tokens, prefill, queue, share) if tokens else None
    sent = 0
    for event in client_of(ctx).events(session=session):
        data = msgspec.to_builtins(event)
        if format_ is Format.THUNDERAGENT:
            told = thunderagent(data)
            path, body = ("", None) if told is None else told
        else:
            path, body = "", webhook(data, costs)
        if body is None:
            continue
        _post(to.rstrip("/") + path, body)
        sent += 1
        if sent == count:
            return


def _post(url: str, body: dict[str, Any]) -> None:
    """Send once; what fails is said and forgotten."""
    request = urllib.request.Request(  # noqa: S310 - http and https alone, checked above
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=POST_S):  # noqa: S310
            pass
    except (OSError, HTTPException) as error:
        typer.echo(f"{url}: {error}", err=True)
