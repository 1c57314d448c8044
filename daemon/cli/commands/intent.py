# SPDX-License-Identifier: Apache-2.0
"""`agentcg intent`: what a session says that it will need, and what that was worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentcg.client.choice import choose_session
from agentcg.daemon.cli import values
from agentcg.daemon.cli.options import (
    Cpu,
    Json,
    SessionOption,
    client_of,
    option_value,
    time_span,
)
from agentcg.daemon.cli.output import print_json
from agentcg.daemon.messages import (
    ChangeIntent,
    DeclareIntent,
    SecondsQuantiles,
    SizeQuantiles,
)

if TYPE_CHECKING:
    from agentcg.daemon.messages import Calibration, CpuLevel, Intent, IntentKind

DECLARE_HELP = """Declare what will be needed. It shapes the next grant, and memory is held for it
for a short while (admission.reserve_max of the policy).

The answer: grant; wait, with the place in the queue; or refused, with what would fit.

\b
Kinds:
  call        a tool call is to come, with --memory, --cpu, --in, --for
  generating  the model is writing; a call may follow
  idle        nothing for a while (--for)
  release     forget what was declared before

\b
Examples:
  agentcg intent declare call --tool pytest --memory 1.5G --for 2m --in 5s
  agentcg intent declare call --memory 200M,300M,900M --for 5s,20s,1m --parallel 4
  agentcg intent declare generating --in 20s
  agentcg intent declare idle --for 10m --session reviewer

Exit codes: 0; 1 no such session or a limit; 2 invalid; 3 no daemon; 4 not permitted.
"""
CHANGE_HELP = """Change a declaration: less or more, sooner or later. What is not given stays.

\b
Examples:
  agentcg intent change k3qv7a2m --memory 500M
  agentcg intent change k3qv7a2m --in 10s --session reviewer

Exit codes: 0; 1 no such session or intent; 2 invalid; 3 no daemon; 4 not permitted.
"""
WITHDRAW_HELP = """Take a declaration back; what is held for it is free.

Exit codes: 0; 1 no such session or intent; 3 no daemon; 4 not permitted.
"""
CALIBRATION_HELP = """What a session's latest declarations were worth: how much its calls took of
what was declared, and how many intents were followed by a call.

Exit codes: 0; 1 no such session; 3 no daemon; 4 not permitted.
"""
LIST_HELP = """List a session's declarations that still hold.

Exit codes: 0; 1 no such session; 3 no daemon; 4 not permitted.
"""

intent_app = typer.Typer(
    help="What a session will need: declare, change, withdraw, list; what that was worth.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@option_value
def sizes(text: str) -> values.Spread[int]:
    """A size, or its p50,p90,p99."""
    return values.one_or_three(text, values.memory_size)


@option_value
def time_spans(text: str) -> values.Spread[float]:
    """A time, or its p50,p90,p99."""
    return values.one_or_three(text, values.time_span)


class Kind(StrEnum):
    """`messages.IntentKind`; older typers know no Literal."""

    CALL = "call"
    GENERATING = "generating"
    IDLE = "idle"
    RELEASE = "release"


Memory = Annotated[
    values.Spread[int] | None,
    typer.Option(
        "--memory",
        "-m",
        metavar="SIZE",
        parser=sizes,
        help="Of each call: 1.5G, or 200M,300M,900M (p50,p90,p99).",
    ),
]
Level = Annotated[Cpu | None, typer.Option("--cpu", help="Share of the CPU.")]
StartIn = Annotated[
    float | None, typer.Option("--in", metavar="TIME", parser=time_span, help="When it starts.")
]
Duration = Annotated[
    values.Spread[float] | None,
    typer.Option(
        "--for",
        metavar="TIME",
        parser=time_spans,
        help="How long it lasts: 2m, or 5s,20s,1m (p50,p90,p99).",
    ),
]
Deadline = Annotated[
    float | None,
    typer.Option("--deadline", metavar="TIME", parser=time_span, help="When it must be done."),
]
Confidence = Annotated[
    float | None, typer.Option("--confidence", min=0, max=1, help="How sure, 0 to 1.")
]
Parallel = Annotated[
    int | None, typer.Option("--parallel", min=1, max=64, help="Calls of the kind at once.")
]
After = Annotated[
    list[str] | None,
    typer.Option("--after", metavar="ID", help="Intent whose calls end first; may be repeated."),
]


@intent_app.command("declare", help=DECLARE_HELP)
def declare(  # noqa: PLR0917 - typer passes options by name
    ctx: typer.Context,
    kind: Annotated[Kind, typer.Argument(help="What is declared.", show_default=False)],
    session: SessionOption = None,
    tool: Annotated[str | None, typer.Option("--tool", "-t", metavar="NAME", help="Tool.")] = None,
    command: Annotated[
        str | None, typer.Option("--command", metavar="LINE", help="Command line.")
    ] = None,
    memory: Memory = None,
    cpu: Level = None,
    start_in: StartIn = None,
    duration: Duration = None,
    deadline: Deadline = None,
    confidence: Confidence = None,
    parallel: Parallel = None,
    after: After = None,
    parent: Annotated[
        str | None,
        typer.Option("--parent", metavar="ID", help="Intent that it is a part of, or call."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Declare an intent."""
    named: IntentKind = kind.value
    request = DeclareIntent(
        kind=named, tool=tool, command=command, parent=parent,
        **_need(memory, cpu, start_in, duration, deadline, confidence, parallel, after),
    )  # fmt: skip
    kept = client_of(ctx).declare(choose_session(session), request)
    _tell(kept, "declared", as_json)


@intent_app.command("change", help=CHANGE_HELP)
def change(  # noqa: PLR0917 - typer passes options by name
    ctx: typer.Context,
    intent: Annotated[str, typer.Argument(metavar="ID", help="Intent.", show_default=False)],
    session: SessionOption = None,
    memory: Memory = None,
    cpu: Level = None,
    start_in: StartIn = None,
    duration: Duration = None,
    deadline: Deadline = None,
    confidence: Confidence = None,
    parallel: Parallel = None,
    after: After = None,
    as_json: Json = False,
) -> None:
    """Change an intent."""
    request = ChangeIntent(
        **_need(memory, cpu, start_in, duration, deadline, confidence, parallel, after)
    )
    kept = client_of(ctx).change_intent(choose_session(session), intent, request)
    _tell(kept, "changed", as_json)


def _tell(kept: Intent, done: str, as_json: bool) -> None:
    if as_json:
        print_json(kept)
    else:
        typer.echo(f"intent {kept.id} of session {kept.session} is {done}{_answered(kept)}")


@intent_app.command("withdraw", help=WITHDRAW_HELP)
def withdraw(
    ctx: typer.Context,
    intent: Annotated[str, typer.Argument(metavar="ID", help="Intent.", show_default=False)],
    session: SessionOption = None,
) -> None:
    """Take an intent back."""
    client_of(ctx).withdraw_intent(choose_session(session), intent)


@intent_app.command("calibration", help=CALIBRATION_HELP)
def calibration(ctx: typer.Context, session: SessionOption = None, as_json: Json = False) -> None:
    """What declarations were worth."""
    found = client_of(ctx).calibration(choose_session(session))
    if as_json:
        print_json(found)
        return
    for line in worth(found):
        typer.echo(line)


def worth(found: Calibration) -> Iterator[str]:
    """What is known of a session's declarations, for people."""
    count = found.used + found.unused
    yield f"intents followed by a call: {found.used} of {count}; trust {found.trust:.2f}"
    for name, percent in (("memory", found.memory_percent), ("time", found.duration_percent)):
        taken = ", ".join(f"{one}%" for one in percent) or "none declared"
        yield f"{name} taken of what was declared: {taken}"
    yield f"a declared need is counted {found.correction:g} times"


def _need(  # noqa: PLR0917
    memory: values.Spread[int] | None,
    cpu: Cpu | None,
    start_in: float | None,
    duration: values.Spread[float] | None,
    deadline: float | None,
    confidence: float | None,
    parallel: int | None,
    after: list[str] | None,
) -> dict[str, Any]:
    level: CpuLevel | None = cpu.value if cpu else None
    return {
        "cpu": level, "start_in_s": start_in, "deadline_s": deadline, "confidence": confidence,
        "parallelism": parallel, "after": after or None,
        **_spread(memory, "memory_bytes", "memory_quantiles", SizeQuantiles),
        **_spread(duration, "duration_s", "duration_quantiles", SecondsQuantiles),
    }  # fmt: skip


def _spread(
    given: values.Spread[Any] | None, one: str, three: str, quantiles: Callable[..., Any]
) -> dict[str, Any]:
    """As field `one` of a request, or as field `three`."""
    if given is None:
        return {}
    if len(given.values) == 1:
        return {one: given.values[0]}
    return {three: quantiles(**dict(zip(("p50", "p90", "p99"), given.values, strict=True)))}


def _answered(intent: Intent) -> str:
    """The answer, for people."""
    offer = intent.offer
    if offer is None or intent.kind != "call":
        return ""
    place = "" if offer.position is None else f", number {offer.position} in the queue"
    in_s = None if offer.expected_at is None else max(offer.expected_at - time.time(), 0.0)
    when = "" if in_s is None else f", room expected in {in_s:.0f}s"
    return f": {offer.state}{place}{when}: {offer.reason}"


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
