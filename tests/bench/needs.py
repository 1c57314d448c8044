#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How well a call's need is foreseen: recorded runs, call by call, as the daemon would see them.

    python tests/bench/needs.py [--traces DIR] [--json FILE]

Each shell call of a recorded run whose memory was seen in a sample is asked for before it runs,
with the calls of the same run that had ended by then as its history. Its peak is its share of
the recording (docs/benchmarks.md, "Whose memory is it"). Without recordings: 20 generated runs.

- `default`: the class default of the built-in policy
- `last`: the last call of the kind, the class default before there is one
- `largest`: the largest so far, nothing added
- `history`: what the daemon does (`agentcg.daemon.engine.history`)
- `history, by program`: the same with the command's first program as part of the kind

`covered`: the peak was within the need. `over 100M`: it exceeded the need by more than 100 MiB.
`need`, `spare`: MiB at the mean, and of it not used. `large`: calls that took more than their class
default; how many of these were covered.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentcg.daemon.engine.history import EMPTY, History, Outcome, expected, learn
from agentcg.daemon.messages import Category
from agentcg.daemon.replay.generate import generate
from agentcg.daemon.replay.sources import TRACES_DIRECTORY
from agentcg.daemon.replay.split import clusters, split_memory
from agentcg.daemon.replay.trace import Trace, load
from agentcg.policies import DEFAULT, CallFacts, categorise

MIB = 1 << 20
GENERATED = 20
NO_AGENT = "replay"  # a data set of commands without an agent: no history of a session
HOST_BYTES = 1 << 40


@dataclass(frozen=True)
class Seen:
    """One call of a run."""

    start_s: float
    end_s: float
    tool: str
    category: Category
    program: str
    peak_bytes: int
    default_bytes: int


Run = list[Seen]
Foresee = Callable[[Seen, Run], int]


def run_of(trace: Trace) -> Run:
    """The calls of a trace whose memory was sampled, in the order in which they began."""
    shares = split_memory(trace, clusters(trace)).calls_mib
    calls = []
    for index, call in enumerate(trace.tool_calls):
        if share := shares.get(index):
            category = categorise(call.tool, call.command)
            facts = CallFacts(call.tool, call.command, category, "normal", HOST_BYTES)
            calls.append(
                Seen(
                    call.start_s, trace.duration_s if call.end_s is None else call.end_s,
                    call.tool, category, program_of(call.command),
                    round(max(share.values()) * MIB), DEFAULT.call(facts).memory or 0,
                )
            )  # fmt: skip
    return sorted(calls, key=lambda call: call.start_s)


def program_of(command: str) -> str:
    """The last program of a `cd x && y | z` line before the pipe: roughly what is run."""
    simple = command.rsplit("&&", maxsplit=1)[-1].split("|", maxsplit=1)[0].split()
    return simple[0].rsplit("/", 1)[-1] if simple else ""


def by_default(call: Seen, _: Run) -> int:
    return call.default_bytes


def by_last(call: Seen, before: Run) -> int:
    same = [one.peak_bytes for one in before if one.category == call.category]
    return same[-1] if same else call.default_bytes


def by_largest(call: Seen, before: Run) -> int:
    same = [one.peak_bytes for one in before if one.category == call.category]
    return max(same, default=call.default_bytes)


def by_history(call: Seen, before: Run, kind: Callable[[Seen], str] = lambda c: c.tool) -> int:
    kept: History = EMPTY
    for one in before:
        kept = learn(kept, Outcome(kind(one), one.category, one.peak_bytes), 0.0)
    known = expected(kept, kind(call), call.category, call.default_bytes, 0.0)
    return call.default_bytes if known is None else known.need_bytes


def by_program(call: Seen, before: Run) -> int:
    return by_history(call, before, lambda one: one.program)


WAYS: dict[str, Foresee] = {
    "default": by_default,
    "last": by_last,
    "largest": by_largest,
    "history": by_history,
    "history, by program": by_program,
}


def judge(runs: Iterable[Run], foresee: Foresee, categories: set[str] | None) -> dict[str, Any]:
    """The figures of one way to foresee, over the calls of these categories."""
    needs, peaks, defaults = [], [], []
    for run in runs:
        for call in run:
            if categories is None or call.category in categories:
                before = [one for one in run if one.end_s <= call.start_s]
                needs.append(foresee(call, before))
                peaks.append(call.peak_bytes)
                defaults.append(call.default_bytes)
    pairs = list(zip(needs, peaks, strict=True))
    large = [
        (need, peak) for (need, peak), usual in zip(pairs, defaults, strict=True) if peak > usual
    ]
    count = max(len(pairs), 1)
    return {
        "calls": len(pairs),
        "covered": sum(peak <= need for need, peak in pairs) / count,
        "over_100m": sum(peak > need + 100 * MIB for need, peak in pairs) / count,
        "need_mib": sum(needs) / count / MIB,
        "spare_mib": sum(need - peak for need, peak in pairs) / count / MIB,
        "large": len(large),
        "large_covered": sum(peak <= need for need, peak in large),
    }


def traces(directory: Path) -> list[Trace]:
    """The recordings there, else generated ones."""
    found = [load(path) for path in sorted(directory.glob("*.json.gz"))]
    agents = [trace for trace in found if trace.dataset != NO_AGENT]
    return agents or [generate(str(seed)) for seed in range(1, GENERATED + 1)]


def main() -> None:
    """Print a table, or write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[1])
    parser.add_argument("--traces", type=Path, default=TRACES_DIRECTORY)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = [run_of(trace) for trace in traces(options.traces)]
    groups = {"all": None, "test": {"test"}, "install": {"install"}, "python": {"python"}}
    found = {
        group: {name: judge(runs, way, categories) for name, way in WAYS.items()}
        for group, categories in groups.items()
    }
    result = {"runs": len(runs), "groups": found}
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    json.dump(result, sys.stdout, indent=2)
    print()
    for group, ways in found.items():
        print(f"\n{group:20} {'covered':>8} {'over 100M':>9} {'need':>6} {'spare':>6} {'large':>8}",
              file=sys.stderr)  # fmt: skip
        for name, got in ways.items():
            print(
                f"{name:20} {got['covered']:8.1%} {got['over_100m']:9.2%} {got['need_mib']:6.0f} "
                f"{got['spare_mib']:6.0f} {got['large_covered']:4}/{got['large']}",
                file=sys.stderr,
            )


if __name__ == "__main__":
    main()
