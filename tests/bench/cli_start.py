#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `agentcg run` adds to a command, and what the other commands take to start.

    python tests/bench/cli_start.py [--rounds N] [--socket PATH]

Wall time from start to end of a process, in milliseconds: least, p50 and p90 of so many rounds that
take turns. `true` and `python` (an interpreter that does nothing) are what there is to compare
with. Without --socket no daemon is asked: `run` then is start-up alone, and fails open. With
it, a call is begun and ended, as root (born in the call) and as another user (placed by pid).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SOMEBODY = 4711


def agentcg() -> str:
    """The `agentcg` that belongs to this interpreter, else the installed one."""
    beside = Path(sys.executable).with_name("agentcg")
    return str(beside) if beside.exists() else shutil.which("agentcg") or "agentcg"


def commands(with_daemon: bool) -> dict[str, tuple[list[str], dict[str, Any]]]:
    """Argument list and options of each measured process."""
    program = agentcg()
    found: dict[str, tuple[list[str], dict[str, Any]]] = {
        "true": (["true"], {}),
        "python": ([sys.executable, "-c", ""], {}),
        "run": ([program, "run", "true"], {}),
        "version": ([program, "version"], {}),
    }
    if with_daemon:
        found["status --json"] = ([program, "status", "--json"], {})
        if os.geteuid() == 0:
            somebody = {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": [], "cwd": "/"}
            found["run as another user"] = ([program, "run", "true"], somebody)
    return found


def measure(rounds: int, socket: Path) -> dict[str, list[float]]:
    """Milliseconds of every round of every command."""
    chosen = commands(socket.exists())
    taken: dict[str, list[float]] = {name: [] for name in chosen}
    env = os.environ | {"AGENTCG_SOCKET": str(socket)}
    for _ in range(rounds + 1):
        for name, (words, options) in chosen.items():
            start = time.perf_counter()
            subprocess.run(
                words, env=env, check=True, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, **options,
            )  # fmt: skip
            taken[name].append((time.perf_counter() - start) * 1000)
    return {name: times[1:] for name, times in taken.items()}  # the first filled the caches


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description="Start-up of the command line.")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--socket", type=Path, default=Path("/nonexistent/agentcg.sock"))
    arguments = parser.parse_args()
    figures = {
        name: {
            "least_ms": round(min(times), 1),
            "p50_ms": round(statistics.median(times), 1),
            "p90_ms": round(statistics.quantiles(times, n=10)[-1], 1),
        }
        for name, times in measure(arguments.rounds, arguments.socket).items()
    }
    print(json.dumps({"daemon": arguments.socket.exists(), **figures}, indent=2))


if __name__ == "__main__":
    main()
