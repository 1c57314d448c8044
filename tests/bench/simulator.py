#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Is the simulator right? What it foretells of mixes that were played in the guest.

    python tests/bench/simulator.py --traces DIR [.cache/policy/backports/policy.json]

Takes what `agentcg bench policy` has measured, simulates the same mixes at the same speed, with
the same limits and under the same controls, and prints, for each, what was foretold beside what
was measured: agents that survive, calls that complete, and the wall time of the session of high
priority against its plan. Then the errors: simulated minus measured, mean and mean of the sizes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agentcg.daemon.policybench import mixes
from agentcg.daemon.policybench.mixes import Mix
from agentcg.daemon.policybench.units import Kept
from agentcg.daemon.replay.plan import Shape, build
from agentcg.daemon.replay.result import RunResult
from agentcg.daemon.replay.trace import Trace
from agentcg.daemon.simulate.controls import Control, Static
from agentcg.daemon.simulate.governor import Governed
from agentcg.daemon.simulate.program import program
from agentcg.daemon.simulate.scenario import Scenario, play
from agentcg.daemon.simulate.sources import read
from agentcg.policies import DEFAULT

MEASURED = Path(".cache/policy/backports/policy.json")


def mixes_of(kept: Kept, traces: Sequence[Trace]) -> dict[str, Mix]:
    """What was played, by the key of its campaign up to the number of the run."""
    asked = kept.asked
    paper = mixes.paper(traces)
    most = int(kept.machine.memory_bytes * 0.7)
    found = {mix.name: mix for mix in paper}
    found["roomy"] = mixes.roomy(paper[0])
    drawn = mixes.drawn(traces, asked.seed, asked.mixes, asked.window_s, most)
    return found | {f"mixes/{mix.name}": mix for mix in drawn}


def simulated(mix: Mix, kept: Kept, control: str) -> dict[str, float | None]:
    """What the simulator says of one mix."""
    speed = kept.speed or 1.0
    shape = Shape(speed=speed, base_extra_bytes=mix.base_extra_bytes, cpu=kept.asked.cpu)
    scenario = Scenario(
        agents=len(mix.sessions),
        memory_bytes=mix.limit_bytes,
        cpus=float(kept.machine.cpus),
        priorities=tuple(priority for priority, _ in mix.sessions),
    )
    made: Control
    if control == "agentcg":
        made = Governed(DEFAULT, wait_s=30.0 / speed)
    else:
        made = Static() if control == "static" else Control()
    cast = [[program(build(trace, shape))] for _, trace in mix.sessions]
    found = play(scenario, cast, made)
    return {
        "agents": found.all.runs_completed / found.all.runs,
        "calls": found.all.calls_completed / max(found.all.calls_planned, 1),
        "high_wall": found.by_priority["high"].slowdown.mean,
    }


def measured(run: RunResult) -> dict[str, float | None]:
    """The same of one run in the guest."""
    sessions = run.sessions
    walls = [
        session.wall_s / session.planned_s
        for session in sessions
        if session.priority == "high" and session.wall_s is not None
    ]
    return {
        "agents": sum(s.state == "completed" for s in sessions) / len(sessions),
        "calls": sum(s.calls.completed for s in sessions)
        / max(sum(s.calls.planned for s in sessions), 1),
        "high_wall": statistics.mean(walls) if walls else None,
    }


def compared(kept: Kept, traces: Sequence[Trace]) -> Iterator[dict[str, Any]]:
    """One line for each run that was measured."""
    known = mixes_of(kept, traces)
    for key, report in kept.campaigns.items():
        mix = known.get(key) or known.get(key.partition("/")[0])
        if mix is None:
            continue  # with swap: the simulator has none
        for run in report.runs:
            yield {
                "mix": key,
                "control": run.control,
                "simulated": simulated(mix, kept, run.control),
                "measured": measured(run),
            }


def errors(lines: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """By control and figure, where both are known."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for control in dict.fromkeys(line["control"] for line in lines):
        for name in ("agents", "calls", "high_wall"):
            pairs = [
                (line["simulated"][name], line["measured"][name])
                for line in lines
                if line["control"] == control
            ]
            off = [said - was for said, was in pairs if said is not None and was is not None]
            if off:
                found.setdefault(control, {})[name] = {
                    "pairs": len(off),
                    "mean": statistics.mean(off),
                    "mean_size": statistics.mean(abs(one) for one in off),
                }
    return found


def main() -> int:
    """Compare and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--traces", action="append", metavar="DIR")
    parser.add_argument("measured", nargs="?", type=Path, default=MEASURED)
    given = parser.parse_args()
    kept = msgspec.json.decode(given.measured.read_bytes(), type=Kept)
    lines = list(compared(kept, read(given.traces or [])))
    print(json.dumps({"errors": errors(lines), "runs": lines}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
