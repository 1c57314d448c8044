#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What admission, idle reclaim and forecasts are worth: the daemon without each, simulated.

    python tests/bench/ablation.py [--traces DIR] [--memory 4G] [--seed N ...] [--json OUT]

Each row is the daemon's own engine under a policy that leaves one thing out. `agents`: the most
that one host carries with nobody killed, agent or call, and runs at most 5% slower on average
(`agentcg simulate --density`), for each seed; `x_peaks`: that against agents whose peaks fit side
by side, mean over the seeds. Then `--agents` agents on a host with memory for the sum of their
peaks divided by `--overcommit`: killed agents and calls, runs, and how much slower they are.

The policies differ by what is in `VARIANTS`; the swap is on zram. What the model says and leaves
out: docs/benchmarks.md. Without recorded traces, generated ones are played.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentcg.daemon.replay.plan import Shape, build
from agentcg.daemon.simulate.controls import Control
from agentcg.daemon.simulate.density import densest, most_agents, provisioned
from agentcg.daemon.simulate.governor import Governed
from agentcg.daemon.simulate.program import Program, program
from agentcg.daemon.simulate.scenario import ControlMaker, Scenario, casting, peak_bytes, play
from agentcg.daemon.simulate.sources import read
from agentcg.policies import DEFAULT, Policy
from agentcg.policies.checker import parse
from agentcg.units import parse_duration, parse_size

NO_ADMISSION = "admission: {wait_max: 0}\n"
NO_FORECAST = "admission: {by: peaks}\n"
NEITHER = "admission: {wait_max: 0, by: peaks}\n"
IDLE = "idle: {reclaim: [high, normal, low], after: 2s}\n"
VARIANTS = {
    "all of it": IDLE,
    "without admission": NO_ADMISSION + IDLE,
    "without idle reclaim": "",
    "without forecast": NO_FORECAST + IDLE,
    "idle reclaim alone": NEITHER + IDLE,
    "without all three": NEITHER,
}
"""What stands above the built-in policy. Leases and the ladder are there in all of them."""
WAIT_S = 30.0


def policy(text: str) -> Policy:
    """The built-in policy below `text`."""
    file, mistakes = parse("version: 1\n" + text, "ablation")
    assert not mistakes, mistakes
    return Policy((file, *DEFAULT.ordered), "bench")


def controls() -> dict[str, ControlMaker]:
    """`none`, and the daemon under each of the policies."""
    made: dict[str, ControlMaker] = {"no control": Control}
    for name, text in VARIANTS.items():
        chosen = policy(text)
        made[name] = lambda chosen=chosen: Governed(chosen, wait_s=WAIT_S)  # type: ignore[misc]
    return made


def densities(
    scenario: Scenario, programs: Sequence[Program], seeds: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Agents that one host carries, for each seed."""
    found: dict[str, dict[str, Any]] = {}
    peaks = []
    for seed in seeds:
        seeded = replace(scenario, seed=seed)
        most = 2 * most_agents(seeded, programs)
        peaks.append(provisioned(seeded, programs, most).agents)
        for name, make in controls().items():
            one = densest(seeded, programs, make, most)
            found.setdefault(name, {"agents": []})["agents"].append(one.agents)
            _tell(f"seed {seed}, {name}: {one.agents} agents, {peaks[-1]} by their peaks")
    for row in found.values():
        ratios = [agents / peak for agents, peak in zip(row["agents"], peaks, strict=True)]
        row["x_peaks"] = round(statistics.mean(ratios), 2)
    return {"peaks side by side": {"agents": peaks, "x_peaks": 1.0}, **found}


def crowd(
    scenario: Scenario,
    programs: Sequence[Program],
    agents: int,
    overcommit: float,
    seeds: Sequence[int],
) -> dict[str, dict[str, Any]]:
    """What becomes of so many agents in too little memory; sums over the seeds."""
    peaks = {one.name: peak_bytes(one) for one in programs}
    found: dict[str, dict[str, Any]] = {}
    for seed in seeds:
        seeded = replace(scenario, agents=agents, seed=seed)
        cast = casting(seeded, programs)
        wanted = sum(max(peaks[one.name] for one in playlist) for playlist in cast)
        share = wanted / overcommit / seeded.memory_bytes
        seeded = replace(
            seeded, memory_bytes=int(wanted / overcommit), cpus=seeded.cpus * share,
            swap_bytes=int(seeded.swap_bytes * share),
        )  # fmt: skip
        for name, make in controls().items():
            one = play(seeded, cast, make()).all
            row = found.setdefault(
                name, {"agents_killed": 0, "calls_killed": 0, "runs_ended": 0, "slower_mean": []}
            )
            row["agents_killed"] += one.agents_killed
            row["calls_killed"] += one.calls_killed
            row["runs_ended"] += one.runs_completed
            row["slower_mean"].append(one.slowdown.mean and round(one.slowdown.mean - 1, 3))
            _tell(f"seed {seed}, {agents} agents, {name}: {row}")
    return found


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Simulate, and print JSON; progress is on standard error."""
    parser = argparse.ArgumentParser(description="With and without each part of the daemon.")
    parser.add_argument("--traces", action="append", metavar="DIR|TRACE")
    parser.add_argument("--memory", default="4G", metavar="SIZE")
    parser.add_argument("--swap", default=None, metavar="SIZE", help="on zram; else as the memory")
    parser.add_argument("--hot", type=float, default=0.25, help="share that goes on with an agent")
    parser.add_argument("--cpus", type=float, default=8.0)
    parser.add_argument("--until", default="10m", metavar="TIME")
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--agents", type=int, default=50)
    parser.add_argument("--overcommit", type=float, default=1.6)
    parser.add_argument("--json", type=Path, metavar="OUT")
    given = parser.parse_args()
    memory_bytes = parse_size(given.memory, "memory")
    scenario = Scenario(
        agents=0, memory_bytes=memory_bytes, cpus=given.cpus, stagger_s=300.0,
        until_s=parse_duration(given.until, "until"), hot=given.hot,
        swap_bytes=parse_size(given.swap or given.memory, "swap"),
    )  # fmt: skip
    programs = [program(build(trace, Shape())) for trace in read(given.traces or [])]
    result = {
        "settings": {**vars(given), "json": None, "policies": VARIANTS},
        "density": densities(scenario, programs, given.seed),
        "crowd": crowd(scenario, programs, given.agents, given.overcommit, given.seed),
    }
    text = json.dumps(result, indent=1) + "\n"
    if given.json is not None:
        given.json.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
