#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What delays through the kernel's own interface are like, on a kernel that has it.

    tests/vm/guest run --kernel bzImage -- python3 tests/bench/memcg_ops.py

*low* has a budget of 8 MiB and waits for each batch over it, *high* has none. Milliseconds that a
wait takes beside those that were asked for, rates of allocation in MB/s, what others have to wait
for in microseconds (a write to the file that low writes to, a grace period of RCU), and what the
programs cost who is over no budget, in percent. Needs root; prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time

from agentcg.bpf.budgets import BudgetMaps
from agentcg.bpf.memcg_ops import Form, MemcgOps, probe
from agentcg.cgroups import Cgroup, find_mount
from agentcg.daemon.bench import inversion, loads
from agentcg.daemon.bench.loads import bench, percentile

SECONDS = 3.0
SOFT_BYTES = 8 << 20
DELAYS_MS = (0, 11, 50, 200, 1000)
MOST_BYTES = 1 << 60
WRITER = loads.WRITER.format(seconds=SECONDS, keep_mib=64)
COSTS = {"page faults": WRITER, "charges": loads.CHARGER.format(seconds=SECONDS)}


def main() -> int:
    form = probe()
    if isinstance(form, str):
        print(form, file=sys.stderr)
        return 1
    cost = {name: _cost(form, code) for name, code in COSTS.items()}
    with _attached(form) as ops:
        told = ops.budgets
        result = {
            "form": str(form),
            "waits_ms": {asked: _wait_ms(told, asked) for asked in (11, 50, 200, 1000)},
            "rates": {"alone": _rates(told, None), **{ms: _rates(told, ms) for ms in DELAYS_MS}},
            "others_us": {ms: _others(told, ms) for ms in (None, 0, 200, 1000)},
            "cost_percent": cost,
        }
    print(json.dumps(result, indent=2))
    return 0


def _attached(form: Form) -> MemcgOps:
    """To all cgroups."""
    with Cgroup.open(find_mount().path) as root:
        return MemcgOps.open(form, root.fileno())


def _wait_ms(told: BudgetMaps, asked_ms: int) -> float:
    """How long one of them takes, of several."""
    with bench() as b:
        low = b.below(b.cgroup, "low")
        told.set(low.id, SOFT_BYTES, 0, "low", asked_ms * 1_000_000)
        b.load(loads.WRITER.format(seconds=600, keep_mib=4096), low)[0].go()
        begun = [_at(told, low, 1)]
        begun.append(_at(told, low, 1 + max(4, 2000 // asked_ms)))
        told.clear(low.id)
    (first, from_s), (last, to_s) = begun
    return round(1000 * (to_s - from_s) / (last - first), 1)


def _at(told: BudgetMaps, low: Cgroup, count: int) -> tuple[int, float]:
    """When it is held up for that many times, and for how many."""
    while True:
        told.heartbeat()
        found = told.delays(low.id)
        if found and found.count >= count:
            return found.count, time.monotonic()
        time.sleep(0.001)


def _rates(told: BudgetMaps, delay_ms: int | None) -> dict[str, float]:
    """None: high alone."""
    with bench() as b:
        names = ["high"] if delay_ms is None else ["high", "low"]
        cgroups = {name: b.below(b.cgroup, name) for name in names}
        if delay_ms:
            told.set(cgroups["low"].id, SOFT_BYTES, 0, "low", delay_ms * 1_000_000)
        writers = {name: b.load(WRITER, cgroup)[0] for name, cgroup in cgroups.items()}
        for one in writers.values():
            one.go()
        return {name: round(one.result(), 1) for name, one in writers.items()}


def _others(told: BudgetMaps, delay_ms: int | None) -> dict[str, float]:
    values = inversion.values(inversion.one(told, delay_ms, SECONDS))
    names = ("write p99", "write max", "write as it was p99", "grace p50", "grace max")
    return {name: round(value) for name, value in zip(names, values, strict=True)}


def _cost(form: Form, code: str) -> dict[str, float]:
    """By turns without the programs, with no budget, with one that is not reached; medians."""
    rates: dict[str, list[float]] = {"without": [], "no budget": [], "not reached": []}
    for _ in range(5):
        for name, found in rates.items():
            with bench() as b:
                low = b.below(b.cgroup, "low")
                ops = _attached(form) if name != "without" else None
                if ops and name == "not reached":
                    ops.budgets.set(low.id, MOST_BYTES, 0, "low")
                (load,) = b.load(code, low)
                load.go()
                found.append(float(load.result()))
                if ops:
                    ops.close()
    median = {name: percentile(found, 0.5) for name, found in rates.items()}
    return {name: round(100 * (median["without"] / rate - 1), 2) for name, rate in median.items()}


if __name__ == "__main__":
    sys.exit(main())
