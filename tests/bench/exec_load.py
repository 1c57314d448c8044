#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many programs in many sessions: is anything lost, and what does the daemon cost?

    python tests/bench/exec_load.py [--sessions N] [--rate N] [--seconds N] [--runtime]

A daemon of its own with a session and a running call for each of `--sessions`; workers execute
/bin/true `--rate` times a second in all, on a fixed schedule, each in one leaf after another.
Afterwards the accounts of all calls must add up to what was executed. `--runtime`: in the leaves of
the agents instead, where each may be a call; nothing counts them there. Needs root; prints one JSON
object: executed, counted, events lost, what `agentcg doctor` says of detection, lost calls of the
history, and CPU and memory of the daemon.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from agentcg.bpf import Accounting
from cgroup_support import until
from daemon_support import Daemon, fresh, own_daemon

WORKERS = 8
EXECS_PER_LEAF_MIN = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runtime", action="store_true")
    asked = parser.parse_args()
    pins = f"/sys/fs/bpf/{fresh('agentcg-bench')}"
    try:
        with own_daemon("--require", "none", "--bpf", "on", "--pins", pins) as daemon:
            print(json.dumps(measure(daemon, asked)))
    finally:
        Accounting.open(pins).unpin()
    return 0


def measure(daemon: Daemon, asked: argparse.Namespace) -> dict[str, object]:
    """Load the daemon and read what it counted."""
    sessions, rate, seconds = asked.sessions, asked.rate, asked.seconds
    assert daemon.process is not None
    calls = []
    for _ in range(sessions):
        name = fresh("bench")
        daemon.open(name)
        calls.append(daemon.begin(name, command="make"))
    leaves = [call["cgroup"] for call in calls]
    if asked.runtime:
        leaves = [str(Path(leaf).with_name("runtime")) for leaf in leaves]
    pid, cpu_before, started = daemon.process.pid, 0.0, time.monotonic()
    cpu_before = cpu_s(pid)
    with multiprocessing.Pool(WORKERS) as pool:
        shares = [(leaves[n::WORKERS], rate / WORKERS, seconds, n / rate) for n in range(WORKERS)]
        executed = sum(pool.starmap(work, shares))
        took = time.monotonic() - started
        used = cpu_s(pid) - cpu_before
    rss_bytes = rss(pid)
    counted = sum(daemon.end(call["id"])["account"]["execs"] for call in calls)
    until(lambda: daemon.get("/v1/health")["history"]["waiting"] == 0)
    health = daemon.get("/v1/health")
    return {
        "sessions": sessions,
        "executed": executed,
        "executed_per_s": round(executed / took, 1),
        "counted": counted,
        "events_lost": health["events_lost"],
        "detection": next(c for c in health["controls"] if c["name"] == "detection"),
        "history_lost": health["history"]["lost"],
        "daemon_cpu_percent": round(used / took * 100, 2),
        "daemon_rss_bytes": rss_bytes,
    }


def work(leaves: list[str], rate: float, seconds: float, delay_s: float) -> int:
    """Execute at `rate` for so long, in one leaf after another; how often."""
    home = next(
        line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.startswith("0::")
    )  # fmt: skip
    mount = leaves[0]
    while not Path(mount).is_mount():
        mount = str(Path(mount).parent)
    # Each leaf once: a call ends when its leaf has emptied.
    per_leaf = max(EXECS_PER_LEAF_MIN, int(rate * seconds / len(leaves)) + 1)
    began, done = time.monotonic() + delay_s, 0
    while done < rate * seconds:
        if done % per_leaf == 0:
            leaf = leaves[done // per_leaf]
            Path(leaf, "cgroup.procs").write_text(str(os.getpid()))
        wait_s = began + done / rate - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        done += 1
    Path(mount + home, "cgroup.procs").write_text(str(os.getpid()))
    return done


def cpu_s(pid: int) -> float:
    """CPU time of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
