# SPDX-License-Identifier: Apache-2.0
"""Which three agents are shown, and how much memory they get together.

The point of the demonstration is contention, so it is arranged: one low-priority agent is the
hungriest there is and has its peak early, when all three are still at work; the other one is
modest. The limit is somewhat below that peak plus what the other two hold most of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from agentcg.daemon.replay.trace import Trace, load
from agentcg.errors import TraceError

MIB = 1 << 20
SPEED = 50.0
LIMIT_SHARE = 0.85
LIMIT_STEP_BYTES = 50 * MIB
HIGH_PEAK_MIB = 420.0  # as the high-priority agent in section 6 of the AgentCgroup paper
DURATION_S = (300.0, 800.0)  # recorded: 6 to 16 s of demonstration
EARLY_S = 200.0
AGENT_MIB = 100.0  # less at most times is no agent: recordings of commands alone
GENERATED = ("gen:37", "gen:311", "gen:34")  # found by the same rules


@dataclass(frozen=True)
class Shape:
    """What the choice looks at: seconds recorded, MiB held."""

    duration_s: float
    peak_s: float
    peak_mib: float
    usual_mib: float

    @classmethod
    def of(cls, trace: Trace) -> Shape:
        """The shape of one recording."""
        memory, times = trace.samples.memory_mib, trace.samples.t_s
        peak = max(memory)
        return cls(times[-1], times[memory.index(peak)], peak, median(memory))


def choose_three(shapes: dict[str, Shape]) -> tuple[str, str, str]:
    """Names of the high-priority agent, the hungry one and the modest one.

    Raises TraceError if there are not enough of a fitting length.
    """
    shortest_s, longest_s = DURATION_S
    fitting = {
        name: shape
        for name, shape in shapes.items()
        if shortest_s <= shape.duration_s <= longest_s and shape.usual_mib >= AGENT_MIB
    }
    early = [name for name, shape in fitting.items() if shape.peak_s <= EARLY_S]
    if len(fitting) < 3 or not early:
        raise TraceError(
            f"of {len(shapes)} recordings {len(fitting)} last {shortest_s:.0f} to"
            f" {longest_s:.0f} s, and {len(early)} of those have their peak in the first"
            f" {EARLY_S:.0f} s",
            remedy="3 and 1 are needed; without TRACES= generated ones are played",
        )
    hungry = max(early, key=lambda name: fitting[name].peak_mib)
    others = [name for name in fitting if name != hungry]
    modest = min(others, key=lambda name: fitting[name].peak_mib)
    others.remove(modest)
    high = min(others, key=lambda name: abs(fitting[name].peak_mib - HIGH_PEAK_MIB))
    return high, hungry, modest


def from_recordings(directory: Path) -> tuple[str, str, str]:
    """Three recordings of a directory, by path; see `choose_three`."""
    paths = sorted(directory.glob("*.json.gz"))
    return choose_three({str(path): Shape.of(load(path)) for path in paths})


def limit_bytes(high: Shape, hungry: Shape, modest: Shape) -> int:
    """What all three get together: LIMIT_SHARE of what they need at the hungry one's peak."""
    needed_mib = hungry.peak_mib + high.usual_mib + modest.usual_mib
    return int(LIMIT_SHARE * needed_mib * MIB) // LIMIT_STEP_BYTES * LIMIT_STEP_BYTES
