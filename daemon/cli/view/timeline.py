# SPDX-License-Identifier: Apache-2.0
"""What happened to calls, one line a step."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agentcg.daemon.cli.view.counted import words
from agentcg.daemon.client.text import printable
from agentcg.daemon.messages import Action, Call
from agentcg.units import format_duration


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline."""

    time: float
    what: str
    whose: str
    why: str
    rule: str | None = None


def timeline(calls: Iterable[Call], actions: Iterable[Action]) -> list[Step]:
    """What was decided and done, and how each call ended, in the order of time."""
    kept = list(actions)
    told = {action.call for action in kept if action.kind == "grant"}
    steps = [_done(action) for action in kept]
    for call in calls:
        if call.id not in told:  # its own actions were not asked for, or are too old to be kept
            steps.append(_granted(call))
        steps += _ended(call)
        steps += _counted(call)
    return sorted(steps, key=lambda step: step.time)


def lines_of(steps: Iterable[Step]) -> Iterator[str]:
    """For people: time, what, on whom, why, by which rule."""
    for step in steps:
        clock = time.strftime("%H:%M:%S", time.localtime(step.time))
        rule = f" [{step.rule}]" if step.rule else ""
        yield printable(f"{clock} {step.what:<10} {step.whose} {step.why}{rule}")


def _done(action: Action) -> Step:
    whose = "/".join(part for part in (action.session, action.call) if part)
    return Step(action.time, action.kind, whose, action.reason, action.rule)


def _granted(call: Call) -> Step:
    grant = call.grant
    return Step(call.begun_at, "grant", _name(call), grant.reason, grant.rule or grant.source)


def _ended(call: Call) -> Iterator[Step]:
    if call.ended_at is None:
        return
    status = "" if call.exit_status is None else f", exit status {call.exit_status}"
    after = format_duration(call.account.wall_s)
    why = f"{call.end_reason or 'ended'}{status}, after {after}"
    yield Step(call.ended_at, "end", _name(call), why)
    for feedback in call.feedback:
        yield Step(call.ended_at, feedback.code, _name(call), feedback.text)


def _counted(call: Call) -> Iterator[Step]:
    """What the scheduler and memory delay did with it, so far if it runs."""
    account = call.account
    told = words(account.scheduled, account.delayed)
    if told is not None:
        at = call.begun_at + account.wall_s if call.ended_at is None else call.ended_at
        yield Step(at, "cpu", _name(call), told)


def _name(call: Call) -> str:
    return f"{call.session}/{call.id}"
