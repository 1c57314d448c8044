# SPDX-License-Identifier: Apache-2.0
"""What an agent does, in the simulator's units: bytes, seconds, cores. Pure.

Made from a replay's plan, so that both play the same. Steps of the agent's own memory that stay
within `GRAIN_BYTES` are put together, which leaves half of the events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agentcg.daemon.messages import Category
from agentcg.daemon.replay.plan import CallPlan, Plan, Step
from agentcg.policies import categorise

GRAIN_BYTES = 2 << 20
LEAST_S = 1e-3  # no leg takes no time: memory does not jump


@dataclass(frozen=True, slots=True)
class Leg:
    """Go evenly to `bytes` in `duration_s`, keeping `cores` busy."""

    duration_s: float
    bytes: int
    cores: float


@dataclass(frozen=True, slots=True)
class CallProgram:
    """One call: begun `start_s` after its turn's calls began, or after call `after` ended."""

    tool: str
    command: str
    category: Category
    start_s: float
    after: int | None
    legs: tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class TurnProgram:
    """The agent thinks, then runs these calls and waits for all of them."""

    think: tuple[Leg, ...]
    calls: tuple[CallProgram, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """One session from its agent's start to its end."""

    name: str
    base_bytes: int  # held by the agent for good
    turns: tuple[TurnProgram, ...]
    duration_s: float  # if nothing holds it up

    @property
    def calls(self) -> int:
        """How many calls it makes."""
        return sum(len(turn.calls) for turn in self.turns)


def program(plan: Plan) -> Program:
    """`plan` as a program."""
    level = 0
    turns = []
    for turn in plan.turns:
        think = _legs(turn.think, plan.chunk_bytes, level, GRAIN_BYTES)
        level = think[-1].bytes if think else level
        base = plan.base_chunks * plan.chunk_bytes
        raised = tuple(Leg(leg.duration_s, base + leg.bytes, leg.cores) for leg in think)
        calls = tuple(_call(call, plan.chunk_bytes) for call in turn.calls)
        turns.append(TurnProgram(raised, calls))
    return Program(plan.name, plan.base_chunks * plan.chunk_bytes, tuple(turns), plan.duration_s)


def _call(call: CallPlan, chunk_bytes: int) -> CallProgram:
    return CallProgram(
        tool=call.tool,
        command=call.command,
        category=categorise(call.tool, call.command),
        start_s=call.start_s,
        after=call.after,
        legs=_legs(call.steps, chunk_bytes, 0, chunk_bytes),
    )


def _legs(steps: Iterable[Step], chunk_bytes: int, level: int, grain_bytes: int) -> tuple[Leg, ...]:
    """Steps as legs from `level` on; those that stay within the grain of their start are one."""
    legs: list[Leg] = []
    begun_at = level  # level at the start of the last leg
    flat = False
    for step in steps:
        target = step.chunks * chunk_bytes
        duration_s = max(step.duration_s, LEAST_S)
        small = abs(target - begun_at) < grain_bytes
        if flat and small:
            last = legs.pop()
            whole_s = last.duration_s + duration_s
            cores = (last.cores * last.duration_s + step.cpu_s) / whole_s
            legs.append(Leg(whole_s, target, cores))
            continue
        begun_at = level
        flat = abs(target - level) < grain_bytes
        legs.append(Leg(duration_s, target, step.cpu_s / duration_s))
        level = target
    return tuple(legs)
