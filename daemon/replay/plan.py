# SPDX-License-Identifier: Apache-2.0
"""From a trace to what a replay does, step by step. Pure: the same input gives the same plan.

A session is a list of turns. In a turn the agent thinks (steps of its own memory and CPU), then
runs calls, then waits for all of them. Nothing has an absolute time: a call begins so long after
what came before it *ended*, so that a call which is slowed down delays what follows it, as it does
for a real agent.

Between samples memory is interpolated, in whole chunks. Which part of a recording is the agent's
and which a call's: `split`.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from agentcg.daemon.replay.split import (
    Cluster,
    CpuSplit,
    MemorySplit,
    Span,
    clusters,
    split_cpu,
    split_memory,
)
from agentcg.daemon.replay.trace import Trace
from agentcg.errors import TraceError

MIB = 1 << 20
ALLOCATIONS_MAX = 4_000_000  # each has a word of shared memory; recordings have thousands


class Step(msgspec.Struct, frozen=True):
    """Go evenly from the present number of chunks to `chunks` in `duration_s`, burning `cpu_s`."""

    duration_s: float
    chunks: int
    cpu_s: float


class CallPlan(msgspec.Struct, frozen=True):
    """One shell call: begun `start_s` after its turn's calls began, or after call `after` ended."""

    reference: str
    tool: str
    command: str
    start_s: float
    after: int | None  # index in the turn
    steps: list[Step]

    @property
    def duration_s(self) -> float:
        """Seconds the call takes if nothing holds it up."""
        return sum(step.duration_s for step in self.steps)

    @property
    def allocations(self) -> int:
        """Chunks allocated over its life."""
        return allocations(self.steps)


class Turn(msgspec.Struct, frozen=True):
    """The agent thinks, then runs these calls and waits for all of them."""

    think: list[Step]
    calls: list[CallPlan]

    @property
    def duration_s(self) -> float:
        """Seconds the turn takes if nothing holds it up."""
        ends: list[float] = []
        for call in self.calls:
            since_s = 0.0 if call.after is None else ends[call.after]
            ends.append(since_s + call.start_s + call.duration_s)
        return sum(step.duration_s for step in self.think) + max(ends, default=0.0)


class Plan(msgspec.Struct, frozen=True):
    """What one session does. Durations and CPU are scaled by `speed`, memory is not."""

    name: str
    speed: float
    chunk_bytes: int
    base_chunks: int  # held by the agent from before the start
    delay_s: float  # the session starts so long after the run
    turns: list[Turn]
    cpu_cut_s: float  # recorded above one core per process, not played

    @property
    def duration_s(self) -> float:
        """Seconds from the session's start to its end if nothing holds it up."""
        return sum(turn.duration_s for turn in self.turns)

    @property
    def calls(self) -> list[CallPlan]:
        """Every call in order of turns."""
        return [call for turn in self.turns for call in turn.calls]

    @property
    def agent_allocations(self) -> int:
        """Chunks that the agent itself allocates after the start."""
        return allocations([step for turn in self.turns for step in turn.think])

    @property
    def allocations(self) -> int:
        """Chunks allocated after the start by agent and calls together."""
        return self.agent_allocations + sum(call.allocations for call in self.calls)

    @property
    def cpu_s(self) -> float:
        """CPU seconds burned in all."""
        thought = sum(step.cpu_s for turn in self.turns for step in turn.think)
        return thought + sum(step.cpu_s for call in self.calls for step in call.steps)


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a trace is played."""

    speed: float = 1.0  # recorded seconds per second
    chunk_bytes: int = MIB  # the size of one allocation
    base_extra_bytes: int = 0  # on top of the recorded base
    cpu: float = 1.0  # share of the recorded CPU that is burned
    stagger_s: float = 0.0  # recorded seconds; sessions start at random within it


def build(trace: Trace, shape: Shape, seed: str = "") -> Plan:
    """The plan of `trace`; `seed` decides the start within `shape.stagger_s`, nothing else.

    Raises TraceError if it would take more than ALLOCATIONS_MAX allocations.
    """
    groups = clusters(trace)
    builder = _Builder(trace, shape, split_memory(trace, groups), split_cpu(trace, groups))
    position_s = 0.0
    turns: list[Turn] = []
    for cluster, held_mib in zip(groups, builder.memory.held_mib, strict=True):
        think = builder.think(position_s, cluster.start_s, held_mib)
        turns.append(Turn(think, builder.calls(cluster)))
        position_s = cluster.end_s
    end_s = max(position_s, trace.duration_s)
    turns.append(Turn(builder.think(position_s, end_s, builder.memory.agent_mib[-1]), []))
    base_bytes = builder.memory.base_mib * MIB + shape.base_extra_bytes
    start_s = random.Random(f"{seed}/start").uniform(0.0, shape.stagger_s)  # noqa: S311
    plan = Plan(
        name=trace.name,
        speed=shape.speed,
        chunk_bytes=shape.chunk_bytes,
        base_chunks=round(base_bytes / shape.chunk_bytes),
        delay_s=start_s / shape.speed,
        turns=turns,
        cpu_cut_s=builder.cpu.cut_s * shape.cpu / shape.speed,
    )
    if plan.allocations > ALLOCATIONS_MAX:
        raise TraceError(
            f"{trace.name}: {plan.allocations} allocations, more than {ALLOCATIONS_MAX}",
            remedy="use larger chunks (--alloc-chunk)",
        )
    return plan


@dataclass(frozen=True)
class _Builder:
    """Turns levels at sample times into steps, in the units of the plan."""

    trace: Trace
    shape: Shape
    memory: MemorySplit
    cpu: CpuSplit

    def think(self, start_s: float, end_s: float, last_mib: float) -> list[Step]:
        """The agent's own steps between two clusters; at the end it holds `last_mib`."""
        base = self.memory.base_mib
        levels = [(t, self.memory.agent_mib[i] - base) for i, t in self._samples(start_s, end_s)]
        return self._steps(start_s, [*levels, (end_s, last_mib - base)], self.cpu.agent_rate)

    def calls(self, cluster: Cluster) -> list[CallPlan]:
        """The calls of one cluster, each with what triggers it."""
        planned: list[CallPlan] = []
        for span in cluster.spans:
            after, since_s = _trigger(cluster, span)
            call = self.trace.tool_calls[span.index]
            planned.append(
                CallPlan(
                    reference=call.id,
                    tool=call.tool,
                    command=call.command,
                    start_s=(span.start_s - since_s) / self.shape.speed,
                    after=after,
                    steps=self._call_steps(span),
                )
            )
        return planned

    def _call_steps(self, span: Span) -> list[Step]:
        shares = self.memory.calls_mib.get(span.index, {})
        times_s = self.trace.samples.t_s
        inside = self._samples(span.start_s, span.end_s)
        levels = [(t, shares.get(i, 0.0)) for i, t in inside]
        # What only a sample just after the end shows was there just before it.
        late = [share for i, share in shares.items() if times_s[i] >= span.end_s]
        last_mib = max([levels[-1][1] if levels else 0.0, *late])
        return self._steps(span.start_s, [*levels, (span.end_s, last_mib)], self.cpu.call_rate)

    def _samples(self, start_s: float, end_s: float) -> list[tuple[int, float]]:
        """Index and time of the samples strictly between."""
        times_s = self.trace.samples.t_s
        first, last = bisect_right(times_s, start_s), bisect_left(times_s, end_s)
        return [(i, times_s[i]) for i in range(first, last)]

    def _steps(
        self, start_s: float, levels: list[tuple[float, float]], rates: list[float]
    ) -> list[Step]:
        """One step to each (time, MiB above what is held for good)."""
        steps: list[Step] = []
        for end_s, level_mib in levels:
            burned_s = self.cpu.burned_s(rates, start_s, end_s)
            steps.append(
                Step(
                    duration_s=(end_s - start_s) / self.shape.speed,
                    chunks=round(level_mib * MIB / self.shape.chunk_bytes),
                    cpu_s=burned_s * self.shape.cpu / self.shape.speed,
                )
            )
            start_s = end_s
        return steps


def _trigger(cluster: Cluster, span: Span) -> tuple[int | None, float]:
    """What a call waits for: the last call to end before it began, else the turn itself."""
    ended = [
        (other.end_s, index)
        for index, other in enumerate(cluster.spans)
        if other.end_s <= span.start_s
    ]
    if not ended:
        return None, cluster.start_s
    end_s, index = max(ended)
    return index, end_s


def allocations(steps: list[Step]) -> int:
    """How many chunks are allocated along `steps`, beginning with none."""
    levels = [0, *(step.chunks for step in steps)]
    return sum(max(0, after - before) for before, after in pairwise(levels))
