#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long it takes to bring back what an agent has in zram: here, or in the guest, as root.

    python tests/bench/swap_in.py [--rounds N] [--json FILE]
    tests/vm/guest run -- python3 tests/bench/swap_in.py

No daemon and no cgroups: a process holds 200 MiB (as in `idle.py`) and pages them out itself
(MADV_PAGEOUT). `bring_back_s`: the daemon's `swap_in` of it, from here. `tenth_s`, `all_s`: how
long the process then takes to go through a tenth, and after that through all of it; `kept`: with
nothing taken, `taken`: with nothing brought back.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from agentcg.daemon.policybench.zram import swap_on_zram
from agentcg.daemon.service.host.swapin import swap_in

HELD_MIB = 200
WAYS = ("kept", "taken", "brought back")
HOLDER = f"""
import ctypes, mmap, os, sys, time
page = 4096
text = (b"def f(x): return x + 1  # what an agent keeps in memory\\n" * 100)[:page]
held = mmap.mmap(-1, {HELD_MIB} << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for number in range({HELD_MIB} << 8):
    part = os.urandom(page) if number % 3 == 0 else text[:-8] + number.to_bytes(8, "little")
    held[number * page : (number + 1) * page] = part
print("ready", flush=True)
for line in sys.stdin:
    if line == "out\\n":
        held.madvise(21)  # MADV_PAGEOUT
        print("out", flush=True)
        continue
    begin = time.perf_counter()
    total = 0
    for at in range(0, len(held), page * int(line)):
        total += held[at]
    print(time.perf_counter() - begin, flush=True)
"""


class Holder:
    """The process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def swapped_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmSwap:")[2].split()[0]) << 10


def round_(holder: Holder, way: str) -> dict[str, float]:
    """One turn."""
    found = {"swapped_mib": 0.0, "bring_back_s": 0.0}
    if way != "kept":
        holder.ask("out")
        found["swapped_mib"] = holder.swapped_bytes() / (1 << 20)
    if way == "brought back":
        begin = time.perf_counter()
        swap_in(holder.process.pid)
        found["bring_back_s"] = time.perf_counter() - begin
    found["tenth_s"] = float(holder.ask("10"))
    found["all_s"] = float(holder.ask("1"))
    return found


def main() -> None:
    """Measure; prints JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with swap_on_zram(1 << 30):
        holder = Holder()
        try:
            for _ in range(options.rounds):
                for way in WAYS:
                    found[way].append(round_(holder, way))
        finally:
            holder.process.kill()
            holder.process.wait()
    result = {
        way: {
            name: {
                "p50": round(statistics.median(one[name] for one in rounds), 4),
                "max": round(max(one[name] for one in rounds), 4),
            }
            for name in rounds[0]
        }
        for way, rounds in found.items()
    }
    text = json.dumps(result, indent=1) + "\n"
    if options.json is not None:
        options.json.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
