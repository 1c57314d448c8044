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

Likewise `memory`, where the session has the memory controller (in the guest), for programs that say
how much anonymous memory they hold: the largest sum that is held at once, and how much of it is in
the `memory_peak_bytes` of the call; page cache and page tables are in that, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
# A program that holds so many MiB for so long, and notes what it has.
HOLD = """
import re, sys, time
held = b"x" * (int(sys.argv[1]) << 20)
anonymous = re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read()).group(1)
open("NOTES", "a").write(anonymous + "\\n")
time.sleep(float(sys.argv[2]))
"""
_SHELLS_OWN = 16_000_000
MEMORY = {  # what is done with HOLD, and whether all of it is held at once
    "one program": ("{hold} 64 0.3", True),
    "pipeline": ("{hold} 32 0.3 | {hold} 32 0.3", True),
    "background and wait": ("{hold} 32 0.3 & {hold} 32 0.3 & wait", True),
    "nested shell": ("bash -c '{hold} 64 0.3; true'", True),
    "20 short programs": ("for n in {{1..20}}; do {hold} 8 0; done", False),
    "the shell itself": (
        f"x=$(head -c {_SHELLS_OWN} /dev/zero | tr '\\0' x); sleep 0.4; unset x",
        True,
    ),
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


OfCall = Callable[[Any], float]
Unit = Callable[[Shell], float]
"""Executes one command; what it used."""


def measure(daemon: Daemon, units: dict[str, Unit], of: OfCall, rounds: int) -> dict[str, Any]:
    """Each command `rounds` times; `of` is what the account of a call has of what it used."""
    name = fresh("bench")
    shell = Shell(daemon, name)
    used: list[tuple[str, float, float, float]] = []
    for _ in range(rounds):
        for kind, unit in units.items():
            time.sleep(PAUSE_S)
            began = time.time()
            taken = unit(shell)
            used.append((kind, began, time.time(), taken))
    time.sleep(2)
    calls = daemon.get(f"/v1/calls?session={name}&limit=1024")["calls"]
    shell.agent.kill()
    daemon.ask("DELETE", f"/v1/sessions/{name}?kill=true")
    kinds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in units}
    matched = 0
    for kind, began, over, taken in used:
        own = [c for c in calls if began - 0.05 <= c["begun_at"] <= over]
        matched += len(own)
        kinds[kind].append((taken, sum(of(call) for call in own)))
    every = [pair for pairs in kinds.values() for pair in pairs]
    return {
        "commands": len(used),
        "calls": len(calls),
        "of_no_command": len(calls) - matched,
        "kinds": {kind: share(pairs) for kind, pairs in kinds.items()},
        "programs": share([p for kind, pairs in kinds.items() for p in pairs
                           if kind != "the shell itself"]),
        "all": share(every),
    }  # fmt: skip


def cpu_units() -> dict[str, Unit]:
    """Seconds of CPU, as the shell counts them."""
    return {
        kind: lambda shell, command=command: shell.run(command)  # type: ignore[misc]
        for kind, command in COMMANDS.items()
    }


def memory_units(directory: Path) -> dict[str, Unit]:
    """MB, as the programs note them."""
    notes, program = directory / "notes", directory / "hold.py"
    program.write_text(HOLD.replace("NOTES", str(notes)))

    def unit(shell: Shell, command: str, at_once: bool) -> float:
        notes.write_text("")
        shell.run(command.format(hold=f"python3 -IS {program}"))
        held = [int(line) * 1024 / 1e6 for line in notes.read_text().split()]
        return (sum(held) if at_once else max(held)) if held else _SHELLS_OWN / 1e6

    return {
        kind: lambda shell, what=what: unit(shell, *what)  # type: ignore[misc]
        for kind, what in MEMORY.items()
    }


def cpu_of(call: Any) -> float:
    """Seconds in the account of a call; 0 for one that had no leaf."""
    account = call["account"]
    return ((account["cpu_user_us"] or 0) + (account["cpu_system_us"] or 0)) / 1e6


def memory_of(call: Any) -> float:
    """MB in the account of a call; 0 for one that had no leaf."""
    return float(call["account"]["memory_peak_bytes"] or 0) / 1e6


def share(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Of pairs of what was used and what is in the account: how much of it is right."""
    used = sum(pair[0] for pair in pairs)
    right = sum(min(pair) for pair in pairs)
    return {
        "used": round(used, 2),
        "in_account": round(sum(pair[1] for pair in pairs), 2),
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
            result: dict[str, Any] = {"load": os.getloadavg()[0]}
            result["cpu_s"] = measure(daemon, cpu_units(), cpu_of, given.rounds)
            if "memory" in (daemon.root / "cgroup.subtree_control").read_text():
                with tempfile.TemporaryDirectory() as directory:
                    units = memory_units(Path(directory))
                    result["memory_mb"] = measure(daemon, units, memory_of, given.rounds)
            print(json.dumps(result))
    finally:
        Accounting.open(pins).unpin()
    return 0


if __name__ == "__main__":
    sys.exit(main())
