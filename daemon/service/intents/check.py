# SPDX-License-Identifier: Apache-2.0
"""What an intent may not say, beyond what the types of its fields rule out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agentcg.daemon.messages import DeclareIntent, Intent, SecondsQuantiles, SizeQuantiles
from agentcg.errors import InvalidInput


def check(said: DeclareIntent | Intent) -> None:
    """Raises `InvalidInput`, which names the field."""
    _spread("memory_quantiles", said.memory_quantiles, said.memory_bytes, "memory_bytes")
    _spread("duration_quantiles", said.duration_quantiles, said.duration_s, "duration_s")
    if said.deadline_s is None or said.kind != "call":
        return
    shortest_s = said.duration_s or 0.0
    if said.duration_quantiles is not None:
        shortest_s = said.duration_quantiles.p50
    start_s = said.start_in_s or 0.0
    if said.deadline_s < start_s + shortest_s:
        rule = f"not before its start and duration, {start_s + shortest_s:g}s from now"
        raise InvalidInput("deadline_s", said.deadline_s, rule)


def _spread(
    field: str, spread: SizeQuantiles | SecondsQuantiles | None, value: float | None, other: str
) -> None:
    if spread is None:
        return
    if value is not None:
        raise InvalidInput(field, [spread.p50, spread.p90, spread.p99], f"instead of {other}")
    if spread.p90 < spread.p50:
        raise InvalidInput(f"{field}.p90", spread.p90, f"at least p50, {spread.p50:g}")
    if spread.p99 < spread.p90:
        raise InvalidInput(f"{field}.p99", spread.p99, f"at least p90, {spread.p90:g}")


def check_order(changed: Intent, intents: Sequence[Intent]) -> None:
    """Raises `InvalidInput` if `changed` would come after itself."""
    after = {one.id: one.after or [] for one in intents} | {changed.id: changed.after or []}
    reached, todo = set(), [*after[changed.id]]
    while todo:
        one = todo.pop()
        if one == changed.id:
            raise InvalidInput("after", changed.after, "no circle of intents")
        if one not in reached:
            reached.add(one)
            todo += after.get(one, [])
