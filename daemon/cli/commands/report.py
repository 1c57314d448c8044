# SPDX-License-Identifier: Apache-2.0
"""`agentcg record` and `agentcg report`: what sessions did, as a page and as a trace."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.daemon.cli.options import SessionOption, client_of, time_span
from agentcg.errors import AgentcgError, InvalidInput

if TYPE_CHECKING:
    from agentcg.daemon.report.recording import Recording

RECORD_HELP = """Record sessions into a directory, until ^C.

Memory and CPU twice a second, and every call that ends, with its account and curve.

\b
Examples:
  agentcg record today --session reviewer
  agentcg record night --for 8h

Exit codes: 0, also after ^C; 3 no daemon.
"""
REPORT_HELP = """A page about a recording, or about a session's calls on the daemon's disk.

Timeline of memory and CPU, gaps, peaks, phases, bursts, categories; one file, without network.

\b
Examples:
  agentcg report today --html today.html
  agentcg report reviewer --html reviewer.html          from the daemon's history
  agentcg report today --trace reviewer.json.gz --session reviewer
                                          for: agentcg replay reviewer.json.gz

Exit codes: 0; 1 there is nothing to report; 3 no daemon.
"""
LOOK_S = 0.5
CALLS_MAX = 10_000


def record(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; it may be there.")],
    *,
    session: SessionOption = None,
    duration_s: Annotated[
        float | None,
        typer.Option("--for", metavar="TIME", parser=time_span, help="End after so long."),
    ] = None,
) -> None:
    """Record until ^C or the time is over."""
    from agentcg.daemon.report.recorder import Recorder
    from agentcg.daemon.report.recording import append

    began = time.time()
    recorder = Recorder(client_of(ctx), session, began)
    calls = 0
    try:
        while True:
            new = recorder.look()
            append(directory, new)
            calls += len(new.calls)
            if duration_s is not None and time.time() - began >= duration_s:
                break
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        pass
    typer.echo(f"{directory}: {calls} calls in {time.time() - began:.0f} s", err=True)


def report(
    ctx: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="DIR|SESSION", help="A recording, or a session's name.")
    ],
    *,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the page there.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Write a trace for replay.")
    ] = None,
    session: SessionOption = None,
) -> None:
    """Write the page, or a trace."""
    if html is None and trace is None:
        raise InvalidInput("--html", None, "where the page goes (or --trace FILE)")
    found = _recording(ctx, what)
    if html is not None:
        from agentcg.daemon.report.page import page

        _write(html, page(found, f"agentcg: {what}").encode())
    if trace is not None:
        import msgspec

        from agentcg.daemon.report.export import trace as made

        data = msgspec.json.encode(made(found, session or _only(found)))
        _write(trace, gzip.compress(data, mtime=0) if trace.suffix == ".gz" else data)


def _recording(ctx: typer.Context, what: str) -> Recording:
    from agentcg.daemon.report.recording import load

    if Path(what).is_dir():
        return load(Path(what))
    from agentcg.daemon.cli.commands.history import kept_calls
    from agentcg.daemon.messages import HistoryQuery
    from agentcg.daemon.report.recorder import from_history
    from agentcg.naming import check_name

    query = HistoryQuery(session=check_name(what))
    found = from_history(client_of(ctx), query, CALLS_MAX, kept_calls)
    if not found.calls:
        raise AgentcgError(
            f"{what}: neither a directory nor a session with calls in the history",
            remedy="see `agentcg history`",
        )
    return found


def _only(found: Recording) -> str:
    names = found.sessions()
    if len(names) != 1:
        raise InvalidInput("--session", "(none)", f"one of {', '.join(names) or 'none recorded'}")
    return names[0]


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise AgentcgError(f"{path}: {error.strerror}") from error
