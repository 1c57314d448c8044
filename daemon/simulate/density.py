# SPDX-License-Identifier: Apache-2.0
"""How many agents one host carries: none killed, no call killed, at most 5% slower. Pure.

The largest number is found by bisection, which takes for granted that more agents fare no better;
near the limit that holds only roughly, so the answer is one such limit of possibly several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from agentcg.daemon.simulate.outcome import Outcome
from agentcg.daemon.simulate.program import Program
from agentcg.daemon.simulate.scenario import ControlMaker, Scenario, casting, peak_bytes, play

SLOWDOWN_MAX = 1.05  # mean over the runs
GIB = 1 << 30


class Density(msgspec.Struct, frozen=True, kw_only=True):
    """Of one control. `static`: each agent is given the peak of what it plays, known before."""

    control: str
    agents: int
    agents_per_gib: float
    at: Outcome | None  # with so many agents


def densest(
    scenario: Scenario, programs: Sequence[Program], make: ControlMaker, most: int
) -> Density:
    """Of the control that `make` makes, with up to `most` agents on one host."""
    cast = casting(replace(scenario, agents=most), programs)
    held: dict[int, Outcome] = {}

    def carries(agents: int) -> bool:
        found = play(
            replace(scenario, agents=agents, hosts=1), cast[:agents], make(), while_unharmed=True
        )
        held[agents] = found
        mean = found.all.slowdown.mean
        return found.unharmed and (mean is None or mean <= SLOWDOWN_MAX)

    low, high = 0, most + 1
    while high - low > max(1, low // 100):
        middle = (low + high) // 2
        low, high = (middle, high) if carries(middle) else (low, middle)
    return Density(
        control=make().name,
        agents=low,
        agents_per_gib=low / (scenario.memory_bytes / GIB),
        at=held.get(low),
    )


def provisioned(scenario: Scenario, programs: Sequence[Program], most: int) -> Density:
    """With static limits: agents are taken in turn while their peaks fit side by side."""
    peaks = {program.name: peak_bytes(program) for program in programs}
    cast = casting(replace(scenario, agents=most), programs)
    left, agents = scenario.memory_bytes, 0
    for playlist in cast:
        left -= max(peaks[program.name] for program in playlist)
        if left < 0:
            break
        agents += 1
    return Density(
        control="static",
        agents=agents,
        agents_per_gib=agents / (scenario.memory_bytes / GIB),
        at=None,
    )


def most_agents(scenario: Scenario, programs: Sequence[Program]) -> int:
    """More than so many do not fit whatever is done: their bases alone fill the host."""
    mean = sum(program.base_bytes for program in programs) / len(programs)
    return max(1, int(scenario.memory_bytes / max(mean, 1 << 20)))
