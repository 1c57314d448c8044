# SPDX-License-Identifier: Apache-2.0
"""What noticing charges costs who is not over a budget."""

from __future__ import annotations

from agentcg.bpf.scheduler import Scheduler
from agentcg.daemon.bench import loads
from agentcg.daemon.bench.figures import Figure
from agentcg.daemon.bench.loads import bench, percentile

ROUNDS = 3
MOST_BYTES = 1 << 60
LOADS = {
    "page faults": loads.WRITER.format(seconds=0.5, keep_mib=64),
    "charges of 256 KiB at once": loads.CHARGER.format(seconds=0.5),
}
CONDITIONS = ("without the program", "no budget anywhere", "a budget that is not reached")


def cost(seconds: float) -> list[Figure]:
    """Rates without the program and with it, by turns; in percent of what it costs."""
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(max(ROUNDS, int(seconds))):
        for delays in (False, True):
            with Scheduler.open(delays=delays) as scheduler:
                for condition in CONDITIONS[delays : 1 + 2 * delays]:
                    for name in LOADS:
                        rate = _rate(scheduler, name, condition == CONDITIONS[-1])
                        rates.setdefault((name, condition), []).append(rate)
    return [
        Figure(
            f"cost of the program on {name}, {condition}", "%", None,
            100 * (percentile(rates[name, CONDITIONS[0]], 0.5)
                   / percentile(rates[name, condition], 0.5) - 1), 1,
        )
        for name in LOADS
        for condition in CONDITIONS[1:]
    ]  # fmt: skip


def _rate(scheduler: Scheduler, name: str, budget: bool) -> float:
    with bench() as b:
        cgroup = b.below(b.cgroup, "one")
        if budget and scheduler.memory_delay is not None:
            scheduler.memory_delay.set(cgroup.id, MOST_BYTES, 0, "low")
        (load,) = b.load(LOADS[name], cgroup)
        load.go()
        rate = float(load.result())
        if scheduler.memory_delay is not None:
            scheduler.memory_delay.clear(cgroup.id)
        return rate
