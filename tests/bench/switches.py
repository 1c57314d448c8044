#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an agent and a service of the host get beside each other, under each switch. As root.

    tests/vm/guest run --kernel backports -- python3 tests/bench/switches.py [--seconds S]

First under the kernel's own scheduler, then under agentcg's with the full switch, then with the
partial one. Agent and service are two cgroups side by side, of the same weight; the agent has as
many tasks that always compute as there are CPUs. `agent`: its part of all CPU time beside a service
with as many such tasks, with one bound to each CPU, and with twice as many. `wakes`: how long a
task that wakes every 20 ms for 1 ms waits for a CPU (the kernel's account), in the service beside
the busy agent, and in the agent beside a service that is as busy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentcg.bpf.scheduler import Scheduler
from agentcg.cgroups import Cgroup
from agentcg.cgroups.thread_policy import TAKE, change, threads_of
from agentcg.daemon.bench import loads
from agentcg.daemon.bench.figures import machine
from agentcg.daemon.bench.loads import Bench, bench, percentile, shares

CPUS = os.cpu_count() or 1
SETTLE_S = 2.0
BOUND = "os.sched_setaffinity(0, {%d})\n"


class Pair:
    """An agent and a service, and how agents' tasks are begun."""

    def __init__(self, made: Bench, agents: Cgroup, partial: bool) -> None:
        self._bench = made
        self._partial = partial
        self.agent = made.below(agents, "agent")
        self.service = made.below(made.cgroup, "service")

    def begin(self, cgroup: Cgroup, code: str, count: int = 1) -> list[loads.Load]:
        """So many tasks that run; those of the agent are taken as the daemon takes them."""
        begun = self._bench.load(code, cgroup, count)
        if cgroup is self.agent and self._partial:
            change(TAKE, lambda: threads_of(cgroup.path), lambda _: True)
        for one in begun:
            one.go()
        return begun


@contextmanager
def pair(switch: str) -> Iterator[Pair]:
    """Side by side, with the scheduler in charge that `switch` names."""
    with bench() as made:
        made.cgroup.enable(["cpu", "memory"])
        with made.cgroup.create("sessions") as agents:
            if switch == "kernel":
                yield Pair(made, agents, partial=False)
                return
            partial = switch == "partial"
            with Scheduler.open(agents_in=agents.id if partial else None) as scheduler:
                yield Pair(made, agents, partial)
                if why := scheduler.ended():
                    sys.exit(f"the kernel took the scheduler out: {why}")


def share(switch: str, service: list[str], seconds: float) -> float:
    """The agent's part, in percent, beside a service that runs each of these."""
    with pair(switch) as both:
        both.begin(both.agent, loads.BUSY, CPUS)
        for code in service:
            both.begin(both.service, code)
        time.sleep(SETTLE_S)
        return round(shares([both.agent, both.service], seconds)[0], 1)


def wakes(switch: str, waker: str, seconds: float) -> dict[str, float]:
    """What the one that wakes waits, in us, beside the other that computes."""
    with pair(switch) as both:
        here, there = both.agent, both.service
        if waker == "service":
            here, there = there, here
        both.begin(there, loads.BUSY, CPUS)
        time.sleep(SETTLE_S)
        (one,) = both.begin(here, loads.WAKER.format(seconds=2 * seconds))
        took = one.result()
    return {"p50": percentile(took, 0.5), "p95": percentile(took, 0.95), "max": max(took)}


def measure(switch: str, seconds: float) -> dict[str, object]:
    """All figures under one switch."""
    bound = [BOUND % cpu + loads.BUSY for cpu in range(CPUS)]
    return {
        "agent beside as many": share(switch, [loads.BUSY] * CPUS, seconds),
        "agent beside one bound to each CPU": share(switch, bound, seconds),
        "agent beside twice as many": share(switch, 2 * [loads.BUSY] * CPUS, seconds),
        "service wakes": wakes(switch, "service", seconds),
        "agent wakes": wakes(switch, "agent", seconds),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found: dict[str, object] = {"machine": machine()}
    for switch in ("kernel", "full", "partial"):
        print(switch, file=sys.stderr, flush=True)
        found[switch] = measure(switch, asked.seconds)
    text = json.dumps(found, indent=2)
    print(text)
    if asked.json is not None:
        asked.json.write_text(text)


if __name__ == "__main__":
    main()
