#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How much of what runs in a persistent shell is in the account of the right call, without hooks.

    python tests/bench/attribution.py [--rounds N]

Root, a cgroup v2 mount, a C compiler. A stand-in for an agent keeps one bash on pipes and writes a
command into it, waits for its end, and pauses as for a model; the session has the label of a
client whose signature tells calls of a shell apart by time. What each command really used is what
bash and the children that it has waited for used (/proc/PID/stat, in ticks of 10 ms). Prints one
JSON object: for each kind of command the CPU time that it used, and the part of it that is in the
account of the call that began with it; what is in another call's account counts as wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from agentcg.bpf import Accounting
from bench.detection import weigh
from daemon_support import Daemon, fresh, own_daemon

PAUSE_S = 0.7  # more than the signature's gap
BURN = "import time\\nwhile time.process_time() < 0.3: pass"
COMMANDS = {
    "one program": f"python3 -ISc $'{BURN}'",
    "pipeline": "seq 300000 | sort -r | md5sum",
    "compile": "for n in 1 2 3; do echo 'int main(){return 0;}' | cc -x c -o /dev/null -; done",
    "background and wait": f"python3 -ISc $'{BURN}' & python3 -ISc $'{BURN}' & wait",
    "nested shell": "bash -c 'seq 300000 | sort -r | md5sum; true'",
    "100 short programs": "for n in {1..100}; do /bin/true; done",
    "the shell itself": "n=0; while ((n < 60000)); do ((n++)); done",
}
START = 'read -r _; exec "$@"'


class Shell:
    """One bash that executes what it is told, one command after another."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        line = [sys.executable, "-IS", "-c", _AGENT]
        self.agent = subprocess.Popen(
            ["/bin/sh", "-c", START, "sh", *line],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        daemon.open(name, pids=[self.agent.pid], labels={"client": "langgraph"})
        self.pid = int(self._say(""))

    def run(self, command: str) -> float:
        """Execute it; seconds of CPU that it used."""
        before = self._used_s()
        self._say(command)
        return self._used_s() - before

    def _say(self, line: str) -> str:
        assert self.agent.stdin is not None
        assert self.agent.stdout is not None
        self.agent.stdin.write(line + "\n")
        self.agent.stdin.flush()
        return self.agent.stdout.readline()

    def _used_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


_AGENT = """
import subprocess, sys
pipe = subprocess.PIPE
shell = subprocess.Popen(["/bin/bash"], stdin=pipe, stdout=pipe, text=True, start_new_session=True)
print(shell.pid, flush=True)
for line in sys.stdin:
    shell.stdin.write(line + "echo\\necho is-over\\n")
    shell.stdin.flush()
    while shell.stdout.readline() != "is-over\\n": pass
    print(flush=True)
"""


def measure(daemon: Daemon, rounds: int) -> dict[str, Any]:
    """Each command `rounds` times."""
    name = fresh("bench")
    shell = Shell(daemon, name)
    used: list[tuple[str, float, float, float]] = []
    for _ in range(rounds):
        for kind, command in COMMANDS.items():
            time.sleep(PAUSE_S)
            began = time.time()
            taken_s = shell.run(command)
            used.append((kind, began, time.time(), taken_s))
    time.sleep(2)
    calls = daemon.get(f"/v1/calls?session={name}&limit=1024")["calls"]
    shell.agent.kill()
    daemon.ask("DELETE", f"/v1/sessions/{name}?kill=true")
    kinds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in COMMANDS}
    matched = 0
    for kind, began, over, taken_s in used:
        own = [c for c in calls if began - 0.05 <= c["begun_at"] <= over]
        matched += len(own)
        kinds[kind].append((taken_s, sum(cpu_of(call) for call in own)))
    every = [pair for pairs in kinds.values() for pair in pairs]
    return {
        "load": os.getloadavg()[0],
        "commands": len(used),
        "calls": len(calls),
        "of_no_command": len(calls) - matched,
        "kinds": {kind: share(pairs) for kind, pairs in kinds.items()},
        "programs": share([p for kind, pairs in kinds.items() for p in pairs
                           if kind != "the shell itself"]),
        "all": share(every),
    }  # fmt: skip


def cpu_of(call: Any) -> float:
    """Seconds in the account of a call; 0 for one that had no leaf."""
    account = call["account"]
    return ((account["cpu_user_us"] or 0) + (account["cpu_system_us"] or 0)) / 1e6


def share(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Of pairs of what was used and what is in the account: how much of it is right."""
    used = sum(pair[0] for pair in pairs)
    right = sum(min(pair) for pair in pairs)
    return {
        "used_s": round(used, 2),
        "in_account_s": round(sum(pair[1] for pair in pairs), 2),
        "right": round(right / used, 3) if used else 0.0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    pins = f"/sys/fs/bpf/{fresh('agentcg-bench')}"
    try:
        with own_daemon("--require", "none", "--bpf", "on", "--pins", pins) as daemon:
            assert daemon.process is not None
            weigh(daemon.process.pid, -10)
            print(json.dumps(measure(daemon, given.rounds)))
    finally:
        Accounting.open(pins).unpin()
    return 0


if __name__ == "__main__":
    sys.exit(main())
