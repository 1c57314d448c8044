# SPDX-License-Identifier: Apache-2.0
"""`agentcg sched`: which CPU scheduler is in charge, and what agentcg's does."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.daemon.cli.options import Json, SessionArgument, client_of
from agentcg.daemon.cli.output import print_json, print_json_line
from agentcg.daemon.client.text import printable
from agentcg.errors import Unavailable

if TYPE_CHECKING:
    from agentcg.daemon.messages import Turn

HELP = """Which CPU scheduler is in charge of this host."""
STATUS_HELP = """Which scheduler is loaded, whether agentcg's could be, and memory delay.

\b
Examples:
  agentcg sched status
  agentcg sched status --json | jq -r .loaded

Exit codes: 0.
"""
TRACE_HELP = """Each turn of a session's tasks on a CPU: what it waited for it, what it ran.

And each time that a task was held up, for memory or by cpu.max. One session at a time, by root and
the group agentcg. It is traced for as long as this runs: nobody else pays for it.

\b
Examples:
  agentcg sched trace reviewer
  agentcg sched trace reviewer --count 1000 --json | jq -s 'map(.waited_us) | max'

Exit codes: 0 after --count turns, ^C, or when the session or the scheduler is gone; 1 if agentcg's
scheduler is not in charge, or another session is traced; 3 if the daemon is not there; 4 not
permitted.
"""
_TAKES = {
    "full": "full switch: of all normal tasks",
    "partial": "partial switch: of tasks with the policy SCHED_EXT",
}
_NAMES = ("scheduler", "memory delay", "memcg struct_ops")

sched_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)


@sched_app.command("status", help=STATUS_HELP, short_help="Which scheduler is in charge.")
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Print what sysfs says, and what the daemon says of its own."""
    from agentcg.bpf.scheduler import absence, loaded, switch

    name, which, missing = loaded(), switch(), absence()
    try:
        controls = [c for c in client_of(ctx).health().controls if c.name in _NAMES]
    except Unavailable:
        controls = []
    if as_json:
        print_json({"loaded": name, "switch": which, "missing": missing, "controls": controls})
        return
    takes = f" ({_TAKES[which]})" if which else ""
    typer.echo(f"in charge: {name or 'the kernel itself'}{takes}")
    if missing:
        typer.echo(f"agentcg's cannot be loaded: {missing}")
    for control in controls:
        detail = f": {control.detail}" if control.detail else ""
        typer.echo(f"{control.name}: {control.state}{detail}")


@sched_app.command("trace", help=TRACE_HELP, short_help="Each turn of a session's tasks.")
def trace(
    ctx: typer.Context,
    session: SessionArgument,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="End after so many.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print turns until ^C."""
    try:
        for turn in islice(client_of(ctx).trace(session), count):
            if as_json:
                print_json_line(turn)
            else:
                typer.echo(turn_line(turn))
    except KeyboardInterrupt:
        return


def turn_line(turn: Turn) -> str:
    """A turn for people: when it ended, whose, and what."""
    at = time.strftime("%H:%M:%S", time.localtime(turn.time)) + f"{turn.time % 1:.6f}"[1:]
    whose = f"{turn.call or 'agent'} {turn.comm}[{turn.pid}] CPU {turn.cpu}"
    if turn.delayed_us:
        did = f"held up {turn.delayed_us}us"
    else:
        boosted = ", boosted" if turn.boosted else ""
        did = f"waited {turn.waited_us}us, ran {turn.ran_us}us{boosted}"
    lost = f" ({turn.lost} lost before)" if turn.lost else ""
    return printable(f"{at} {whose}: {did}{lost}")
