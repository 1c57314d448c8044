# SPDX-License-Identifier: Apache-2.0
"""`agentcg policy test`: what a policy would do on a snapshot of a host."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentcg.daemon.cli.logins import login_of
from agentcg.daemon.cli.options import Json, time_span
from agentcg.daemon.cli.output import print_json
from agentcg.daemon.client.text import printable
from agentcg.errors import InvalidInput
from agentcg.units import format_duration, format_size

if TYPE_CHECKING:
    from agentcg.daemon.trial.outcome import CallOutcome, CapOutcome, Outcome, SessionOutcome
    from agentcg.daemon.trial.snapshot import Snapshot

HELP = """What a policy would do on a snapshot: what sessions and calls would get, and what the
ladder would do at once and, with --for, if memory stays as it is.

FILE is a policy file or a directory of them. SNAPSHOT is what `agentcg status --json` prints,
or a file of that form written by hand (docs/policy.md); - reads standard input. The daemon is
not asked and nothing is changed.

\b
Examples:
  agentcg status --json > now.json && agentcg policy test 50-site.yaml now.json
  agentcg status --json | agentcg policy test /etc/agentcg/policies.d - --for 2m

Exit codes: 0; 1 the policy has mistakes; 2 the snapshot has.
"""


def trial(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False, help="The policy.")],
    snapshot: Annotated[
        Path, typer.Argument(metavar="SNAPSHOT", show_default=False, help="JSON; - for stdin.")
    ],
    ahead: Annotated[
        float | None,
        typer.Option("--for", metavar="TIME", parser=time_span, help="Look ahead so far."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print what the engine decides."""
    from agentcg.daemon.cli.policy_source import of_path
    from agentcg.daemon.trial.outcome import outcome

    policy = of_path(file).policy
    found = outcome(policy, _read(snapshot), ahead or 0.0)
    if as_json:
        print_json(asdict(found))
    else:
        _print(found, enabled=policy.ladder.enabled)


def _read(path: Path) -> Snapshot:
    from agentcg.daemon.trial.snapshot import BYTES_MAX, read, with_logins

    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(BYTES_MAX + 1)
        else:
            with path.open("rb") as stream:
                data = stream.read(BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInput("SNAPSHOT", str(path), f"a file: {error.strerror}") from error
    return with_logins(read(data), login_of)


def _print(found: Outcome, *, enabled: bool) -> None:
    room = format_size(max(found.room_bytes, 0))
    typer.echo(f"{format_size(found.bound_bytes)} for all sessions, {room} of it free")
    _table(
        "SESSION", "PRIO", "WEIGHT", "MAX", "HIGH", "LOW", "TENANT", "RULE",
        rows=[_session_row(session) for session in found.sessions],
    )  # fmt: skip
    _table("USER, TENANT", "HOLDS", "MAX", "CALLS", "MAX", "", rows=[_cap(c) for c in found.caps])
    _table(
        "CALL", "SESSION", "DECISION", "HOLDS", "NEED", "HIGH", "MAX", "RULE", "REASON",
        rows=[_call_row(call) for call in found.calls],
    )  # fmt: skip
    typer.echo("\nLADDER")
    if not enabled:
        typer.echo("switched off by this policy")
    elif not found.steps:
        typer.echo("nothing: there is room")
    for step in found.steps:
        target = "/".join(part for part in (step.session, step.call) if part)
        when = f"+{format_duration(step.after_s)}" if step.after_s else "at once"
        typer.echo(printable(f"{when:<8}  {step.kind:<10}  {target}  {step.reason} [{step.rule}]"))


def _session_row(session: SessionOutcome) -> list[str]:
    return [
        session.name, session.priority, str(session.weight), _limit(session.memory_max_bytes),
        _limit(session.memory_high_bytes), format_size(session.memory_low_bytes),
        session.tenant or "-", session.rule or "-",
    ]  # fmt: skip


def _cap(cap: CapOutcome) -> list[str]:
    calls = "max" if cap.max_calls is None else str(cap.max_calls)
    over = "exceeded" if cap.exceeded else ""
    return [
        cap.owner, format_size(cap.held_bytes), _limit(cap.memory_max_bytes), str(cap.calls),
        calls, over,
    ]  # fmt: skip


def _call_row(call: CallOutcome) -> list[str]:
    return [
        call.id, call.session, call.decision, format_size(call.held_bytes),
        format_size(call.memory_need_bytes), _limit(call.memory_high_bytes),
        _limit(call.memory_max_bytes), call.rule or "-", call.reason,
    ]  # fmt: skip


def _limit(size_bytes: int | None) -> str:
    return "max" if size_bytes is None else format_size(size_bytes)


def _table(*head: str, rows: list[list[str]]) -> None:
    """Columns as wide as they need be; the last one is not filled up."""
    if not rows:
        return
    typer.echo()
    lines = [list(head), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        typer.echo(printable("  ".join(cells)).rstrip())
