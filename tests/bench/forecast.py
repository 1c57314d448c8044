#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How well the rest of a call is foreseen: pinball loss and coverage on runs never seen.

    python tests/bench/forecast.py [--traces DIR] [--json FILE]

Recorded runs are parted by their source repository: of five, three teach (what other sessions'
calls took, by category) and two are foreseen. Each shell call of those is foreseen when it begins
and again after 1, 5 and 20 s, if it still runs, with the calls of the same run that had ended as
its history. Without recordings: 30 generated runs.

- `daemon`: `agentcg.daemon.engine.forecast`
- `without pool`: the same without other sessions' calls
- `category`: the quantiles of all taught calls of the category that ran longer than this one has
- `last`: the last call of the kind in this run (else the category's median) for all quantiles

Pinball loss of quantile q: the mean of max(q * (y - f), (q - 1) * (y - f)), in seconds and MiB.
Coverage: how often the outcome was within the quantile; 50, 90 and 99% would be right.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agentcg.daemon.engine.forecast import Forecast, Pools, Sample, Spread, forecast, pool, pooled
from agentcg.daemon.engine.history import PEAKS_KEPT
from agentcg.daemon.messages import Category
from agentcg.daemon.replay.generate import generate
from agentcg.daemon.replay.sources import TRACES_DIRECTORY
from agentcg.daemon.replay.split import clusters, split_memory
from agentcg.daemon.replay.trace import Trace, load, shell_span
from agentcg.policies import DEFAULT, CallFacts, categorise

MIB = 1 << 20
GENERATED = 30
NO_AGENT = "replay"
QUANTILES = (0.5, 0.9, 0.99)
LOOKS_S = (0.0, 1.0, 5.0, 20.0)
HOST_BYTES = 1 << 40
PARTS = 5


class Seen(NamedTuple):
    """One shell call of a run; `curve`: (seconds since it began, bytes) where sampled."""

    start_s: float
    end_s: float
    category: Category
    peak_bytes: int | None
    curve: tuple[tuple[float, int], ...]
    assumed_bytes: int

    @property
    def wall_s(self) -> float:
        return self.end_s - self.start_s


class Asked(NamedTuple):
    """What is known when a call is foreseen."""

    call: Seen
    before: Sequence[Seen]
    elapsed_s: float
    held_bytes: int


Way = Callable[[Asked], Forecast]


def run_of(trace: Trace) -> list[Seen]:
    """The shell calls of a run, in the order in which they began."""
    shares = split_memory(trace, clusters(trace)).calls_mib
    calls = []
    for index, call in enumerate(trace.tool_calls):
        span = shell_span(trace, call)
        if span is None:
            continue
        times, share = trace.samples.t_s, shares.get(index) or {}
        curve = tuple((times[at] - span[0], round(mib * MIB)) for at, mib in sorted(share.items()))
        category = categorise(call.tool, call.command)
        facts = CallFacts(call.tool, call.command, category, "normal", HOST_BYTES)
        assumed = DEFAULT.call(facts).memory or 0
        peak = max((size for _, size in curve), default=None)
        calls.append(Seen(span[0], span[1], category, peak, curve, assumed))
    return sorted(calls)


def teaches(trace: Trace) -> bool:
    """Whether the run teaches: all runs of one source repository do, or none does."""
    repository = re.sub(r"-\d+$", "", trace.task)
    return hashlib.sha256(repository.encode()).digest()[0] % PARTS < PARTS - 2


def sample(call: Seen) -> Sample:
    return Sample(call.wall_s, call.peak_bytes or 0)


def asked(run: Sequence[Seen]) -> Iterator[Asked]:
    """All looks at all calls of a run."""
    for call in run:
        for look_s in LOOKS_S:
            if call.wall_s <= look_s:
                break
            before = [one for one in run if one.end_s <= call.start_s + look_s and one is not call]
            held = max((size for at, size in call.curve if at <= look_s), default=0)
            yield Asked(call, before, look_s, held if look_s else 0)


def same(one: Asked) -> list[Sample]:
    kind = [sample(c) for c in one.before if c.category == one.call.category]
    return kind[-PEAKS_KEPT:]


def ways(taught: Sequence[Seen]) -> dict[str, Way]:
    pools: Pools = {}
    by_category: dict[Category, list[Sample]] = defaultdict(list)
    for call in taught:
        pools = pool(pools, None, call.category, sample(call))
        by_category[call.category].append(sample(call))

    def daemon(one: Asked, *, with_pool: bool = True) -> Forecast:
        others = pooled(pools, None, one.call.category) if with_pool else ()
        return forecast(
            same(one), others, one.call.assumed_bytes, elapsed_s=one.elapsed_s,
            held_bytes=one.held_bytes,
        )  # fmt: skip

    def category(one: Asked) -> Forecast:
        known = [s for s in by_category[one.call.category] if s.wall_s > one.elapsed_s]
        rest = _quantiles([s.wall_s - one.elapsed_s for s in known] or [one.elapsed_s])
        peaks = _quantiles([max(s.peak_bytes, one.held_bytes) for s in known] or [one.held_bytes])
        return Forecast(rest, peaks, 0, len(known))

    def last(one: Asked) -> Forecast:
        kind = same(one)
        if not kind:
            found = category(one)
            return Forecast(
                Spread(*[found.remaining_s.p50] * 3), Spread(*[found.peak_bytes.p50] * 3), 0, 0
            )
        rest = max(kind[-1].wall_s - one.elapsed_s, 0.0)
        return Forecast(
            Spread(rest, rest, rest), Spread(*[max(kind[-1].peak_bytes, one.held_bytes)] * 3), 1, 0
        )

    return {
        "daemon": daemon,
        "without pool": lambda one: daemon(one, with_pool=False),
        "category": category,
        "last": last,
    }


def _quantiles(values: list[float] | list[int]) -> Spread:
    ordered = sorted(values)
    return Spread(*[ordered[min(int(q * len(ordered)), len(ordered) - 1)] for q in QUANTILES])


def pinball(q: float, outcome: float, foreseen: float) -> float:
    off = outcome - foreseen
    return max(q * off, (q - 1) * off)


def judge(runs: Sequence[Sequence[Seen]], way: Way) -> dict[str, Any]:
    """Loss and coverage of remaining time and of peak, by how long the call had run."""
    pairs: dict[tuple[str, float], list[tuple[float, Spread]]] = defaultdict(list)
    for run in runs:
        for one in asked(run):
            found = way(one)
            rest = one.call.wall_s - one.elapsed_s
            pairs["remaining_s", one.elapsed_s].append((rest, found.remaining_s))
            if one.call.peak_bytes is not None:
                peak = Spread(*(value / MIB for value in found.peak_bytes))
                pairs["peak_mib", one.elapsed_s].append((one.call.peak_bytes / MIB, peak))
    return {
        f"{what} after {look_s:g}s": {
            "calls": len(got),
            "loss": [
                sum(pinball(q, y, f[i]) for y, f in got) / len(got) for i, q in enumerate(QUANTILES)
            ],
            "coverage": [sum(y <= f[i] for y, f in got) / len(got) for i in range(3)],
        }
        for (what, look_s), got in sorted(pairs.items())
    }


def chosen(description: str) -> tuple[argparse.Namespace, list[Trace]]:
    """The command line, and the traces of agents that it names; generated ones where none are."""
    parser = argparse.ArgumentParser(description=description.splitlines()[1])
    parser.add_argument("--traces", type=Path, default=TRACES_DIRECTORY)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = [load(path) for path in sorted(options.traces.glob("*.json.gz"))]
    agents = [trace for trace in found if trace.dataset != NO_AGENT]
    return options, agents or [generate(str(seed)) for seed in range(1, GENERATED + 1)]


def main() -> None:
    """Print a table, or write JSON."""
    options, traces = chosen(__doc__ or "")
    taught = [call for trace in traces if teaches(trace) for call in run_of(trace)]
    runs = [run_of(trace) for trace in traces if not teaches(trace)]
    result = {
        "taught": len(taught), "runs": len(runs),
        "ways": {name: judge(runs, way) for name, way in ways(taught).items()},
    }  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{len(taught)} calls taught, {len(runs)} runs foreseen", file=sys.stderr)
    for what in result["ways"]["daemon"]:  # type: ignore[index]
        print(f"\n{what:24} {'loss 50':>8} {'90':>7} {'99':>7}   coverage", file=sys.stderr)
        for name, judged in result["ways"].items():  # type: ignore[attr-defined]
            got = judged[what]
            loss = " ".join(f"{value:7.3g}" for value in got["loss"])
            part = " ".join(f"{value:6.1%}" for value in got["coverage"])
            print(f"{name:24} {loss}   {part}  ({got['calls']})", file=sys.stderr)


if __name__ == "__main__":
    main()
