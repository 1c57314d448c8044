# SPDX-License-Identifier: Apache-2.0
"""What recorded agents do, as distributions to draw from.

Source: 109 recorded runs of coding agents on SWE-rebench tasks (artifacts of "AgentCgroup", arXiv
2602.09345, commit 5af9e7b of eunomia-bpf/agentcgroup): anonymous memory, call durations net of
waiting for a model. A distribution is given by its value at some shares of the population; between
two of them the logarithm is interpolated.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantiles:
    """A distribution of positive numbers by (share, value) points, shares 0 to 1 ascending."""

    points: tuple[tuple[float, float], ...]

    def at(self, share: float) -> float:
        """The value that `share` of the population does not exceed."""
        shares = [point[0] for point in self.points]
        high = min(max(1, bisect_right(shares, share)), len(shares) - 1)
        (s0, v0), (s1, v1) = self.points[high - 1], self.points[high]
        part = min(1.0, max(0.0, (share - s0) / (s1 - s0)))
        return math.exp(math.log(v0) + (math.log(v1) - math.log(v0)) * part)

    def draw(self, random_source: random.Random) -> float:
        """One value."""
        return self.at(random_source.random())


def _quantiles(low: float, p50: float, p90: float, p99: float, high: float) -> Quantiles:
    return Quantiles(((0.0, low), (0.5, p50), (0.9, p90), (0.99, p99), (1.0, high)))


@dataclass(frozen=True)
class CallKind:
    """One category of shell calls."""

    category: str
    share: float  # of all shell calls
    command: str
    duration_s: Quantiles
    rise_mib: Quantiles  # peak during the call above the level before it
    cpu: Quantiles  # cores kept busy while it runs (recorded: in the busiest interval)


# Each as lowest, p50, p90, p99, highest. Memory is that of calls during which at least one sample
# was taken; of the shortest calls nothing is known.
CALLS: tuple[CallKind, ...] = (
    CallKind(
        "test", 0.219, "python -m pytest tests",
        _quantiles(0.05, 0.88, 2.89, 59.0, 300.0),
        _quantiles(0.5, 34.9, 97.3, 827.0, 1797.0),
        _quantiles(0.02, 0.34, 2.04, 5.18, 6.09),
    ),
    CallKind(
        "install", 0.079, "pip install -e .",
        _quantiles(0.10, 1.28, 6.06, 39.3, 120.0),
        _quantiles(0.5, 32.5, 80.4, 254.0, 605.0),
        _quantiles(0.02, 0.36, 0.99, 2.58, 3.80),
    ),
    CallKind(
        "build", 0.007, "python setup.py build",
        _quantiles(0.10, 1.48, 2.11, 6.64, 6.65),
        _quantiles(0.5, 21.3, 107.0, 130.0, 131.0),
        _quantiles(0.02, 0.41, 2.02, 2.40, 2.46),
    ),
    CallKind(
        "python", 0.316, "python -c 'import package'",
        _quantiles(0.03, 0.60, 2.34, 5.99, 120.0),
        _quantiles(0.1, 0.5, 35.5, 103.0, 127.0),
        _quantiles(0.01, 0.06, 0.84, 3.51, 3.74),
    ),
    CallKind(
        "git", 0.143, "git diff",
        _quantiles(0.01, 0.06, 0.66, 3.50, 12.1),
        _quantiles(0.1, 0.5, 4.9, 16.2, 62.9),
        _quantiles(0.01, 0.06, 0.22, 0.39, 0.97),
    ),
    CallKind(
        "search", 0.230, "grep -rn pattern .",
        _quantiles(0.01, 0.03, 0.66, 5.16, 13.1),
        _quantiles(0.1, 0.5, 4.7, 32.9, 34.2),
        _quantiles(0.01, 0.07, 0.22, 0.78, 1.59),
    ),
    CallKind(
        "fileop", 0.006, "cp -r source target",
        _quantiles(0.01, 0.10, 0.10, 0.25, 0.28),
        _quantiles(0.1, 0.5, 6.6, 32.2, 35.1),
        _quantiles(0.01, 0.06, 0.09, 0.17, 0.18),
    ),
)  # fmt: skip

AGENT_TOOLS: tuple[tuple[str, str, float], ...] = (
    ("Read", "search", 0.30),
    ("Edit", "edit", 0.105),
    ("TodoWrite", "internal", 0.075),
)
"""Tools that run inside the agent: name, category, share of all tool calls. The rest is shell."""

AGENT_TOOL_S = _quantiles(0.01, 0.02, 0.05, 0.20, 10.0)
"""How long such a tool takes."""

BASE_MIB = _quantiles(99.0, 176.0, 205.0, 303.0, 304.0)
"""The idle agent process: 5th percentile of a run's memory."""

GROWTH_MIB = _quantiles(3.9, 34.7, 55.7, 93.0, 158.0)
"""What the agent itself gains over its base in the course of a run."""

GAP_S = _quantiles(0.3, 4.1, 14.2, 32.3, 145.6)
"""No tool call is open: the model answers."""

RISE_S = _quantiles(0.3, 1.0, 7.5, 43.9, 87.5)
"""From the first activity of a call to its peak."""

GAP_CPU = _quantiles(0.001, 0.022, 0.046, 0.114, 0.3)
"""Cores that the agent keeps busy in gaps."""

RUN_S = _quantiles(51.0, 271.0, 810.0, 1500.0, 2544.0)
"""How long a run lasts."""

LONGER_IS_LARGER = 0.5
"""Rank correlation of a call's duration with its memory, and with its CPU (tests 0.48 and 0.55,
installs 0.67 and 0.70)."""

PARALLEL = 0.023
"""Share of shell calls that begin while the one before still runs."""

SAMPLE_S = 1.04
"""Seconds between samples."""
