# SPDX-License-Identifier: Apache-2.0
"""Which three agents are shown, and how much memory they get together. Pure, but for loading.

The point of the demonstration is contention, so the sessions are chosen to need more at one
time than they get: the limit is a fixed share of what they would use together if nothing held
them back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentcg.daemon.replay.trace import Trace, load
from agentcg.errors import TraceError

MIB = 1 << 20
SPEED = 50.0
LIMIT_SHARE = 0.7
LIMIT_STEP_BYTES = 50 * MIB
HIGH_PEAK_MIB = 420.0  # near the high-priority agent of the AgentCgroup paper (section 6)
LONG_ENOUGH_S = 400.0  # recorded: 8 s of demonstration
SHORT_ENOUGH_S = 1100.0
# Generated sessions of that kind: 426 MiB for high, 766 and 572 MiB for low.
GENERATED = ("gen:2", "gen:4", "gen:40")


@dataclass(frozen=True)
class Cast:
    """The sessions of the demonstration by the names that `agentcg replay` takes."""

    high: str
    low: tuple[str, str]


def duration_s(trace: Trace) -> float:
    """Recorded seconds."""
    return trace.samples.t_s[-1]


def peak_mib(trace: Trace) -> float:
    """The largest sample."""
    return max(trace.samples.memory_mib)


def from_recordings(directory: Path) -> Cast:
    """The cast from a directory of recordings: a middling agent, and the two hungriest others.

    Raises TraceError if there are not three of a fitting length.
    """
    traces = {path: load(path) for path in sorted(directory.glob("*.json.gz"))}
    fitting = [
        path
        for path, trace in traces.items()
        if LONG_ENOUGH_S <= duration_s(trace) <= SHORT_ENOUGH_S
    ]
    if len(fitting) < 3:
        raise TraceError(
            f"{directory}: {len(fitting)} of {len(traces)} recordings last "
            f"{LONG_ENOUGH_S:.0f} to {SHORT_ENOUGH_S:.0f} s",
            remedy="three are needed; without TRACES= generated ones are played",
        )
    high = min(fitting, key=lambda path: abs(peak_mib(traces[path]) - HIGH_PEAK_MIB))
    others = sorted(
        (path for path in fitting if path != high), key=lambda path: -peak_mib(traces[path])
    )
    return Cast(str(high), (str(others[0]), str(others[1])))


def together_mib(traces: Sequence[Trace]) -> float:
    """The largest sum of memory at one time, if all begin together and nothing holds them."""
    ends = [duration_s(trace) for trace in traces]
    return max(sum(_at(trace, second) for trace in traces) for second in range(int(max(ends)) + 1))


def limit_bytes(traces: Sequence[Trace]) -> int:
    """What all sessions get together: less than they would use, more than the largest alone."""
    wanted = LIMIT_SHARE * together_mib(traces) * MIB
    needed = max(peak_mib(trace) for trace in traces) * MIB
    steps = max(wanted // LIMIT_STEP_BYTES, needed // LIMIT_STEP_BYTES + 1)
    return int(steps) * LIMIT_STEP_BYTES


def _at(trace: Trace, second: float) -> float:
    """Memory in MiB at a recorded second; nothing after the end."""
    if second > duration_s(trace):
        return 0.0
    return trace.samples.memory_mib[max(bisect_right(trace.samples.t_s, second) - 1, 0)]
