#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the idle window releases, and what it costs the next call. In the guest, as root.

    tests/vm/guest run --kernel stable -- python3 tests/bench/idle.py [--json FILE]

The daemon as systemd runs it, zram as swap, one agent: a process that holds 200 MiB (a third of it
random, the rest text that compresses) and waits for its model. It declares `generating`; how much
of its memory is gone after 1, 2 and 5 s is `released`. Then, as the answer comes, the agent goes
through its memory (all of it, or a tenth) and begins a call: `delay` is how long that takes from
the moment that was announced, against an agent that nothing was taken from (`kept`); `announced`:
1 s ahead its memory is brought back; `unannounced`: it finds it in zram.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agentcg.daemon.policybench.zram import swap_on_zram
from cgroup_support import until
from daemon_support import Api
from systemd_support import SOCKET, accounting, policy, systemctl

MIB = 1 << 20
HELD_MIB = 200
ROUNDS = 5
THINKS_S = 7.0
AHEAD_S = 1.0
DROP_IN = Path("/run/systemd/system/agentcgd.service.d/bench.conf")
POLICY = "version: 1\nidle:\n  reclaim: [normal]\n"
AGENT = f"""
import os, sys, time
page = 4096
text = (b"def f(x): return x + 1  # what an agent keeps in memory\\n" * 100)[:page]
held = bytearray()
for number in range({HELD_MIB} << 8):
    held += os.urandom(page) if number % 3 == 0 else text[:-8] + number.to_bytes(8, "little")
print("ready", flush=True)
for line in sys.stdin:
    stride, begin = int(line), time.perf_counter()
    total = 0
    for at in range(0, len(held), page * stride):
        total += held[at]
    print(time.perf_counter() - begin, flush=True)
"""


class Agent:
    """The process, in a session of its own."""

    def __init__(self, daemon: Api, name: str, priority: str) -> None:
        self.runtime = Path(daemon.open(name, priority=priority)["runtime"])
        # Memory stays charged where it was: so the agent is in its leaf before it fills it.
        starter = (
            f"import os; open('{self.runtime}/cgroup.procs', 'w').write('0');"
            f"os.execv('{sys.executable}', ['python3', '-c', {AGENT!r}])"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", starter],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def held_mib(self) -> float:
        return int((self.runtime / "memory.current").read_text()) / MIB

    def touch(self, stride: int) -> float:
        """Seconds to go through every `stride`-th page."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{stride}\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def round_(daemon: Api, agent: Agent, name: str, way: str, stride: int) -> dict[str, float]:
    """One turn: think for a while, then go on."""
    intents = f"/v1/sessions/{name}/intents"
    before = agent.held_mib()
    found: dict[str, float] = {"before_mib": before}
    began = time.monotonic()
    if way != "kept":
        daemon.good("POST", intents, {"kind": "generating"})
    for at in (1, 2, 5):
        time.sleep(max(0.0, began + at - time.monotonic()))
        found[f"released_{at}s"] = 1 - agent.held_mib() / before
    time.sleep(max(0.0, began + THINKS_S - AHEAD_S - time.monotonic()))
    if way == "announced":
        daemon.good("POST", intents, {"kind": "call", "start_in_s": AHEAD_S})
    time.sleep(max(0.0, began + THINKS_S - time.monotonic()))
    start = time.perf_counter()
    found["touch_s"] = agent.touch(stride)
    call = daemon.begin(name)["id"]
    found["delay_s"] = time.perf_counter() - start
    daemon.end(call, exit_status=0)
    daemon.good("POST", intents, {"kind": "release"})
    agent.touch(1)
    return found


def main() -> None:
    """Measure, print a table, or write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[1])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--stride", type=int, nargs="+", default=[1, 10], help="of pages touched")
    options = parser.parse_args()
    result: dict[str, dict[str, float]] = {}
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text(
        "[Service]\nExecStart=\nExecStart=/usr/local/bin/agentcgd --no-guard --bpf off\n"
        "CapabilityBoundingSet=CAP_SYS_NICE CAP_SYS_PTRACE\n"
    )
    systemctl("daemon-reload")
    systemctl("start", "agentcgd")  # its programs take minutes to compile in a guest
    daemon = Api(SOCKET)
    until(lambda: accounting(daemon) != "starting", 240)
    with swap_on_zram(1 << 30), policy(POLICY):
        for way in ("kept", "unannounced", "announced"):
            for stride in options.stride:
                name = f"{way}-{stride}"
                rounds = []
                for number in range(options.rounds):  # a new agent each time: none is at rest
                    priority = "high" if way == "kept" else "normal"  # nothing is asked of high
                    agent = Agent(daemon, f"{name}-{number}", priority)
                    try:
                        rounds.append(round_(daemon, agent, f"{name}-{number}", way, stride))
                    finally:
                        agent.close()
                        daemon.ask("DELETE", f"/v1/sessions/{name}-{number}?kill=true")
                result[name] = {
                    key: statistics.median(one[key] for one in rounds) for key in rounds[0]
                } | {"delay_max_s": max(one["delay_s"] for one in rounds)}
                print(name, {k: round(v, 3) for k, v in result[name].items()}, flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
