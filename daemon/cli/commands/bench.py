# SPDX-License-Identifier: Apache-2.0
"""`agentcg bench`: figures of policies, of the scheduler and of memory delay on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.client.choice import SOCKET_VARIABLE
from agentcg.daemon.cli.handover import CONTEXT, hand_over
from agentcg.daemon.cli.options import socket_of

if TYPE_CHECKING:
    from agentcg.daemon.bench.figures import Figure

HELP = """Measure policies, the scheduler and memory delay on this machine.

As root, where nothing else matters: the loads use all CPUs for minutes. `policy` needs the
daemon; the others are beside the kernel's own, without the daemon's scheduler.
"""
SCHED_HELP = """Shares, latency and throughput, first under the kernel's own scheduler.

\b
Examples:
  agentcg bench sched --json out.json
  agentcg bench sched --seconds 10 --only throughput

Exit codes: 0; 1 where the scheduler cannot be loaded.
"""
DELAY_HELP = """How soon a charge over a budget is held up, and what it does to others.

The figures of each part are shown, and written to OUT, when it is over.

\b
Examples:
  agentcg bench memory-delay --json out.json
  agentcg bench memory-delay --seconds 10 --only others

Exit codes: 0; 1 where the kernel cannot delay.
"""
bench_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)

Out = Annotated[
    Path | None, typer.Option("--json", metavar="OUT", help="Write the figures here, too.")
]
Seconds = Annotated[float, typer.Option(min=0.5, max=600, help="How long each figure is measured.")]
Only = Annotated[
    str, typer.Option(metavar="TEXT", help="Only those with TEXT in the titles shown meanwhile.")
]


@bench_app.command("sched", help=SCHED_HELP, short_help="The scheduler beside the kernel's own.")
def sched(seconds: Seconds = 4.0, out: Out = None, only: Only = "") -> None:
    """Measure the scheduler."""
    from agentcg.daemon.bench import sched as measured

    show([measured.run(seconds, _say, only)], out)


@bench_app.command("memory-delay", help=DELAY_HELP, short_help="Delays of who allocates.")
def delay(seconds: Seconds = 4.0, out: Out = None, only: Only = "") -> None:
    """Measure memory delay."""
    from agentcg.daemon.bench import delay as measured

    show(measured.run(seconds, _say, only), out)


@bench_app.command("policy", context_settings=CONTEXT, short_help="What the policies are worth.")
def policy(ctx: typer.Context) -> None:
    """Survival, time and latency under agentcg against no control."""
    from agentcg.daemon.policybench import command

    os.environ[SOCKET_VARIABLE] = str(socket_of(ctx))
    hand_over(ctx, command.policy)


def show(parts: Iterable[list[Figure]], out: Path | None) -> None:
    """Print each part when it is there; OUT has all so far, should it be cut off."""
    import msgspec

    from agentcg.daemon.bench.figures import document, table

    figures: list[Figure] = []
    for part in parts:
        typer.echo(table(part))
        figures += part
        if out is not None:
            data = msgspec.json.encode(document(figures))
            out.write_bytes(msgspec.json.format(data, indent=2) + b"\n")


def _say(line: str) -> None:
    typer.echo(line, err=True)
