# SPDX-License-Identifier: Apache-2.0
"""Who plays what together, and with how much memory: chosen by statistics and a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentcg.daemon.messages import Priority
from agentcg.daemon.policybench.windows import around_peak
from agentcg.daemon.replay.plan import MIB, Shape, build
from agentcg.daemon.replay.trace import Trace
from agentcg.daemon.simulate.program import program
from agentcg.daemon.simulate.scenario import peak_bytes
from agentcg.errors import TraceError

# The mix of section 6 of the AgentCgroup paper: peaks of 421, 406 and 406 MB with 100 MB on top
# of each recorded base, together 1.12 and 0.95 times the two limits.
PAPER_HIGH = "haiku__dask__dask-11628__a1"
PAPER_LOW = "haiku__sigmavirus24__github3.py-673__a1"
PAPER_LIMITS = (1_100_000_000, 1_300_000_000)
PAPER_DEMANDS = (1.12, 0.95)
PAPER_PEAKS_MIB = (306.0, 291.0)
PAPER_LENGTH_S = (60.0, 200.0)
BASE_EXTRA_BYTES = 100_000_000

DEMAND = (1.1, 1.6)  # sum of the sessions' peaks, of the limit
SESSIONS = (3, 8)
SPARE = 0.95  # of the limit: agents and the largest call alone fit in so much, or nobody could help
TRIES = 400


@dataclass(frozen=True)
class Mix:
    """Sessions and the limit that they share."""

    name: str
    sessions: list[tuple[Priority, Trace]]
    limit_bytes: int
    demand: float  # sum of the sessions' peaks, of the limit
    base_extra_bytes: int = 0


@dataclass(frozen=True)
class Size:
    """Bytes of one session: at most in all, and at most by the agent itself."""

    peak: int
    agent: int

    @classmethod
    def of(cls, trace: Trace, base_extra_bytes: int = 0) -> Size:
        """The sizes of `trace` as it is played."""
        played = program(build(trace, Shape(base_extra_bytes=base_extra_bytes)))
        own = [leg.bytes for turn in played.turns for leg in turn.think]
        return cls(peak_bytes(played), max([played.base_bytes, *own]))


def paper(traces: Sequence[Trace]) -> list[Mix]:
    """The paper's mix at its two limits, or one of the same peaks from `traces`."""
    by_name = {trace.name: trace for trace in traces}
    if PAPER_HIGH in by_name and PAPER_LOW in by_name:
        high, low = by_name[PAPER_HIGH], by_name[PAPER_LOW]
        limits: Sequence[int] = PAPER_LIMITS
    else:
        high, low = _alike(traces)
        peaks = sum(Size.of(trace, BASE_EXTRA_BYTES).peak for trace in (high, low, low))
        limits = [int(peaks / demand) for demand in PAPER_DEMANDS]
    sessions: list[tuple[Priority, Trace]] = [("high", high), ("low", low), ("low", low)]
    peaks = sum(Size.of(trace, BASE_EXTRA_BYTES).peak for _, trace in sessions)
    return [
        Mix(f"paper-{limit // 1_000_000}", sessions, limit, peaks / limit, BASE_EXTRA_BYTES)
        for limit in limits
    ]


def _alike(traces: Sequence[Trace]) -> tuple[Trace, Trace]:
    """Two traces with peaks like those of the paper's, of a like length if there are such."""
    shortest, longest = PAPER_LENGTH_S
    fitting = [trace for trace in traces if shortest <= trace.duration_s <= longest]
    if len(fitting) < 2:
        fitting = list(traces)
    if len(fitting) < 2:
        raise TraceError("a mix needs two traces", remedy="name a directory with more")
    high = min(fitting, key=lambda trace: abs(max(trace.samples.memory_mib) - PAPER_PEAKS_MIB[0]))
    others = [trace for trace in fitting if trace is not high]
    low = min(others, key=lambda trace: abs(max(trace.samples.memory_mib) - PAPER_PEAKS_MIB[1]))
    return high, low


def drawn(
    traces: Sequence[Trace], seed: int, count: int, length_s: float, most_bytes: int
) -> list[Mix]:
    """`count` mixes of windows: 3 to 8 sessions, the first of high priority and the others low,
    demand evenly from 1.1 to 1.6 times the limit.

    Drawn again: mixes whose agents and largest call do not fit by themselves, which no control
    could save, and those with a limit over `most_bytes`, which this machine does not have.
    """
    sizes: dict[tuple[str, float], Size] = {}
    found = []
    for number in range(1, count + 1):
        for attempt in range(TRIES):
            source = random.Random(f"{seed}/{number}/{attempt}")  # noqa: S311 - to repeat
            mix = _draw(traces, source, f"mix-{number}", length_s, sizes)
            if mix is not None and mix.limit_bytes <= most_bytes:
                found.append(mix)
                break
    return found


def _draw(
    traces: Sequence[Trace],
    source: random.Random,
    name: str,
    length_s: float,
    sizes: dict[tuple[str, float], Size],
) -> Mix | None:
    cast = [source.choice(traces) for _ in range(source.randint(*SESSIONS))]
    demand = source.uniform(*DEMAND)
    sessions: list[tuple[Priority, Trace]] = []
    found: list[Size] = []
    for number, trace in enumerate(cast):
        peak_at = round(source.uniform(0.2, 0.8), 1)
        part = around_peak(trace, length_s, peak_at)
        key = (trace.name, peak_at)
        if key not in sizes:
            sizes[key] = Size.of(part)
        found.append(sizes[key])
        sessions.append(("low" if number else "high", part))
    peaks = sum(size.peak for size in found)
    limit = int(peaks / demand) // MIB * MIB
    needed = sum(size.agent for size in found) + max(size.peak - size.agent for size in found)
    if needed > SPARE * limit:
        return None
    return Mix(name, sessions, limit, demand)


def roomy(mix: Mix) -> Mix:
    """The same sessions with three times what they need: no pressure at all."""
    return Mix("roomy", mix.sessions, int(mix.limit_bytes * mix.demand * 3), 1 / 3,
               mix.base_extra_bytes)  # fmt: skip
