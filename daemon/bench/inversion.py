# SPDX-License-Identifier: Apache-2.0
"""What a delayed task does to others: to who writes to its file, and to RCU's grace periods.

With few CPUs a write also takes long because others have theirs. So each is told without what the
writer waited for a CPU, and beside the same without low, and with low that is not delayed, both
also under the kernel's own scheduler. What is measured begins when low is at its budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agentcg.bpf.budgets import BudgetMaps
from agentcg.cgroups import Cgroup
from agentcg.daemon.bench import loads
from agentcg.daemon.bench.delaying import delaying
from agentcg.daemon.bench.figures import Figure
from agentcg.daemon.bench.loads import Bench, bench, percentile

DELAYS_MS = (None, 0, 200, 1000)
"""None: without low."""
SOFT_BYTES = 8 << 20
CHUNK_BYTES = 4096
WRITES, PERIODS = 200, 25  # for each second of the time for a figure
SHARED = Path("/dev/shm/agentcg-bench")  # noqa: S108 - a tmpfs file is what is measured
NAMES = (
    ("another's write to the same file, without waiting for a CPU, p99", 1000),
    ("..., max", None),
    ("..., as it was, p99", None),
    ("a grace period of RCU, p50", None),
    ("..., max", 50_000),
)


class Seen(NamedTuple):
    """In microseconds; `wrote`: each write, and how long it waited for a CPU."""

    wrote: list[tuple[float, float]]
    grace: list[float]


def measure(seconds: float, say: Callable[[str], None]) -> list[Figure]:
    """Figures of each delay; `kernel` is under the kernel's own scheduler, where low has none."""
    say("  the kernel's own scheduler")
    kernel = {delay_ms: values(one(None, delay_ms, seconds)) for delay_ms in DELAYS_MS[:2]}
    found = {}
    with delaying(say) as delay:
        for delay_ms in DELAYS_MS:
            say(f"  {_name(delay_ms)}")
            found[delay_ms] = values(one(delay, delay_ms, seconds))
    return [
        Figure(f"{name}, {_name(delay_ms)}", "us", before, value, ideal)
        for delay_ms, told in found.items()
        for (name, ideal), before, value in zip(
            NAMES, kernel[None if delay_ms is None else 0], told, strict=True
        )
    ]


def _name(delay_ms: int | None) -> str:
    return "without low" if delay_ms is None else f"delay {delay_ms} ms"


def values(seen: Seen) -> list[float]:
    """As `NAMES` says."""
    blocked = [max(0.0, took - waited) for took, waited in seen.wrote]
    took = [took for took, _ in seen.wrote]
    return [
        percentile(blocked, 0.99),
        max(blocked),
        percentile(took, 0.99),
        percentile(seen.grace, 0.5),
        max(seen.grace),
    ]


def one(delay: BudgetMaps | None, delay_ms: int | None, seconds: float) -> Seen:
    """While low is held up so long by `delay`."""
    with bench() as b:
        low, high = b.below(b.cgroup, "low"), b.below(b.cgroup, "high")
        writes = loads.FILE_WRITER.format(path=str(SHARED), count=int(seconds * WRITES))
        (writer,) = b.load(writes, high)
        (grace,) = b.load(loads.GRACE.format(count=int(seconds * PERIODS)), high)
        if delay is not None and delay_ms:
            delay.set(low.id, SOFT_BYTES, 0, "low", delay_ms * 1_000_000)
        if delay_ms is not None:
            _grow(b, low)
        for load in (writer, grace):
            load.go()
        seen = Seen(writer.result(), grace.result())
        if delay is not None:
            delay.clear(low.id)
    SHARED.unlink(missing_ok=True)
    return seen


def _grow(b: Bench, low: Cgroup) -> None:
    """Have low write to the file, until it is at its budget."""
    code = loads.FILE_GROWER.format(path=str(SHARED), chunk=CHUNK_BYTES)
    b.load(code, low)[0].go()
    while int((low.path / "memory.current").read_text()) < SOFT_BYTES:
        time.sleep(0.01)
