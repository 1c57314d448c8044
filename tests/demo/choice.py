# SPDX-License-Identifier: Apache-2.0
"""Which three agents are shown, and how much memory they get together.

The point of the demonstration is contention, so it is arranged: one low-priority agent is the
hungriest there is and has its peak early, when all three are still at work; the other one is
modest. The limit is somewhat below that peak plus what the other two hold most of the time; the
peak of the high-priority one fits in, else nobody could help it.
Recordings that take and give back more memory than an emulated machine can touch in the time are
left out where there are others: the demonstration is to take minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from agentcg.daemon.replay.trace import Trace, load
from agentcg.errors import TraceError

MIB = 1 << 20
SPEED = 25.0
LIMIT_SHARE = 0.85
ROOM_SHARE = 0.95  # of the limit, what high's peak and the other two agents themselves may need
LIMIT_STEP_BYTES = 50 * MIB
HIGH_PEAK_MIB = 420.0  # as the high-priority agent in section 6 of the AgentCgroup paper
DURATION_S = (300.0, 800.0)  # recorded: 12 to 32 s of demonstration
EARLY_S = 200.0
CHURN_MIB = 2000.0  # taken anew in all; a recording with 8,000 took two minutes emulated, not 15 s
AGENT_MIB = 100.0  # less at most times is no agent: recordings of commands alone
GENERATED = ("gen:37", "gen:311", "gen:34")  # found by the same rules


@dataclass(frozen=True)
class Shape:
    """What the choice looks at: seconds recorded, MiB held."""

    duration_s: float
    peak_s: float
    peak_mib: float
    usual_mib: float
    churn_mib: float  # all growth between one sample and the next

    @classmethod
    def of(cls, trace: Trace) -> Shape:
        """The shape of one recording."""
        memory, times = trace.samples.memory_mib, trace.samples.t_s
        peak = max(memory)
        churn = sum(max(0.0, after - before) for before, after in pairwise(memory))
        return cls(times[-1], times[memory.index(peak)], peak, median(memory), churn)

    @property
    def is_typical(self) -> bool:
        """Whether it is an agent's work, and of a length that suits the speed."""
        shortest_s, longest_s = DURATION_S
        return shortest_s <= self.duration_s <= longest_s and self.usual_mib >= AGENT_MIB


def choose_three(shapes: dict[str, Shape]) -> tuple[str, str, str]:
    """Names of the high-priority agent, the hungry one and the modest one.

    Where fewer than three are typical, any others that can be played in the time do too, and where
    there are not enough of those, the three that take the least. Raises TraceError if there are
    not three.
    """
    if len(shapes) < 3:
        raise TraceError(
            f"there are {len(shapes)} recordings (*.json.gz), and three agents are shown",
            remedy="without TRACES= generated ones are played",
        )
    calmest = sorted(shapes, key=lambda name: shapes[name].churn_mib)[:3]
    playable = [name for name, shape in shapes.items() if shape.churn_mib <= CHURN_MIB]
    typical = [name for name in playable if shapes[name].is_typical]
    chosen = next((some for some in (typical, playable) if len(some) >= 3), calmest)
    fitting = {name: shapes[name] for name in chosen}
    early = [name for name, shape in fitting.items() if shape.peak_s <= EARLY_S] or list(fitting)
    hungry = max(early, key=lambda name: fitting[name].peak_mib)
    others = [name for name in fitting if name != hungry]
    modest = min(others, key=lambda name: fitting[name].peak_mib)
    others.remove(modest)

    def leaves_room(high: str) -> bool:
        shapes = [fitting[name] for name in (high, hungry, modest)]
        needed_mib = fitting[high].peak_mib + fitting[hungry].usual_mib + fitting[modest].usual_mib
        return needed_mib * MIB <= ROOM_SHARE * limit_bytes(*shapes)

    roomy = list(filter(leaves_room, others)) or others
    high = min(roomy, key=lambda name: abs(fitting[name].peak_mib - HIGH_PEAK_MIB))
    return high, hungry, modest


def from_recordings(directory: Path) -> tuple[str, str, str]:
    """Three recordings of a directory, by path; see `choose_three`."""
    paths = sorted(directory.glob("*.json.gz"))
    return choose_three({str(path): Shape.of(load(path)) for path in paths})


def limit_bytes(high: Shape, hungry: Shape, modest: Shape) -> int:
    """What all three get together: LIMIT_SHARE of what they need at the hungry one's peak."""
    needed_mib = hungry.peak_mib + high.usual_mib + modest.usual_mib
    return int(LIMIT_SHARE * needed_mib * MIB) // LIMIT_STEP_BYTES * LIMIT_STEP_BYTES
