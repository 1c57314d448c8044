# SPDX-License-Identifier: Apache-2.0
"""Which three agents are shown, and how much memory they get together.

The point of the demonstration is contention, so it is arranged: the hungriest low-priority
agent has its peak early, when all three are still at work, and the limit is somewhat below that
peak plus what the other two hold most of the time.
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
GENERATED = ("gen:37", "gen:311", "gen:332")  # found by the same rules


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
    """Names of the high-priority agent and of the two others; the hungriest of them first.

    Raises TraceError if there are not enough of a fitting length.
    """
    shortest_s, longest_s = DURATION_S
    fitting = {n: s for n, s in shapes.items() if shortest_s <= s.duration_s <= longest_s}
    hungry = sorted(
        (name for name, shape in fitting.items() if shape.peak_s <= EARLY_S),
        key=lambda name: -fitting[name].peak_mib,
    )
    if len(fitting) < 3 or len(hungry) < 2:
        raise TraceError(
            f"of {len(shapes)} recordings {len(fitting)} last {shortest_s:.0f} to"
            f" {longest_s:.0f} s, and {len(hungry)} of those have their peak in the first"
            f" {EARLY_S:.0f} s",
            remedy="3 and 2 are needed; without TRACES= generated ones are played",
        )
    low = hungry[:2]
    others = (name for name in fitting if name not in low)
    high = min(others, key=lambda name: abs(fitting[name].peak_mib - HIGH_PEAK_MIB))
    return high, low[0], low[1]


def from_recordings(directory: Path) -> tuple[str, str, str]:
    """Three recordings of a directory, by path; see `choose_three`."""
    paths = sorted(directory.glob("*.json.gz"))
    return choose_three({str(path): Shape.of(load(path)) for path in paths})


def limit_bytes(high: Shape, hungriest: Shape, other: Shape) -> int:
    """What all three get together: LIMIT_SHARE of what they need at the hungriest's peak."""
    needed_mib = hungriest.peak_mib + high.usual_mib + other.usual_mib
    return int(LIMIT_SHARE * needed_mib * MIB) // LIMIT_STEP_BYTES * LIMIT_STEP_BYTES
