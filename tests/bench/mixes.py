#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The mixes of `agentcg bench policy` under each control, simulated: minutes' worth in seconds.

    python tests/bench/mixes.py [--traces DIR] [--seeds N] [--speed X]

Twenty mixes for each seed, 3 to 8 sessions whose demand is 1.1 to 1.6 times the limit, one of them
of high priority. Prints JSON: for each control who survives, and the wall time of high and of low
priority against their plans. What the model leaves out: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

from agentcg.daemon.policybench import mixes
from agentcg.daemon.policybench.mixes import Mix
from agentcg.daemon.replay.plan import Shape, build
from agentcg.daemon.simulate.controls import Control, Static
from agentcg.daemon.simulate.governor import Governed
from agentcg.daemon.simulate.outcome import Group, Outcome
from agentcg.daemon.simulate.program import program
from agentcg.daemon.simulate.scenario import Scenario, play
from agentcg.daemon.simulate.sources import read
from agentcg.policies import DEFAULT

COUNT = 20
WINDOW_S = 60.0
WAIT_S = 30.0  # recorded seconds that a call may wait for room
CPU_SHARE = 0.25  # of the recorded CPU, as in the guest
CPUS = 2.0
MOST_BYTES = 16 << 30
HIGH_SLOWER_MAX = 1.05
"""What high priority may take of its plan."""

CONTROLS: dict[str, Callable[[float], Control]] = {
    "none": lambda _: Control(),
    "static": lambda _: Static(),
    "agentcg": lambda speed: Governed(DEFAULT, wait_s=WAIT_S / speed),
}


def played(mix: Mix, speed: float, control: str) -> Outcome:
    """One mix under one control."""
    shape = Shape(speed=speed, base_extra_bytes=mix.base_extra_bytes, cpu=CPU_SHARE)
    scenario = Scenario(
        agents=len(mix.sessions),
        memory_bytes=mix.limit_bytes,
        cpus=CPUS,
        priorities=tuple(priority for priority, _ in mix.sessions),
    )
    cast = [[program(build(trace, shape))] for _, trace in mix.sessions]
    return play(scenario, cast, CONTROLS[control](speed))


def told(groups: Sequence[Group]) -> dict[str, Any]:
    """Of one priority, over all mixes. `x_plan` is over agents that survived."""
    slower = sorted(g.slowdown.mean for g in groups if g.slowdown.mean is not None)
    return {
        "agents": sum(group.runs for group in groups),
        "agents_survive": sum(group.runs_completed for group in groups),
        "calls": sum(group.calls_planned for group in groups),
        "calls_complete": sum(group.calls_completed for group in groups),
        "x_plan_mean": statistics.mean(slower) if slower else None,
        "x_plan_max": slower[-1] if slower else None,
        "mixes_over": sum(x > HIGH_SLOWER_MAX for x in slower),
    }


def main() -> int:
    """Play and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--traces", action="append", metavar="DIR")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--speed", type=float, default=5.0)
    given = parser.parse_args()
    traces = read(given.traces or [])
    drawn = [
        mix
        for seed in range(given.seeds)
        for mix in mixes.drawn(traces, seed, COUNT, WINDOW_S, MOST_BYTES)
    ]
    found: dict[str, Any] = {"mixes": len(drawn), "over": HIGH_SLOWER_MAX}
    for control in CONTROLS:
        outcomes = [played(mix, given.speed, control) for mix in drawn]
        found[control] = {
            priority: told([outcome.by_priority[priority] for outcome in outcomes])
            for priority in ("high", "low")
        }
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
