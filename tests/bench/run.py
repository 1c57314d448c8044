#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All benchmarks, here and in the guest; figures with the machine that they belong to.

    make bench                                  everything
    python tests/bench/run.py engine messages   some, by name

Each benchmark is a program that prints JSON on standard output; what it measures and how is in
its own first lines. This one runs them one after another and collects what they printed into
.cache/bench/results.json and .cache/bench/results.md. Exit status 1 if one of them failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GUEST = "tests/vm/guest"
OUT = ROOT / ".cache/bench"
START_DAEMON = "systemctl start agentcgd.service && "


@dataclass(frozen=True)
class Bench:
    """One benchmark: its command, and where it is run."""

    title: str
    command: str
    guest: bool = False

    def arguments(self) -> list[str]:
        """The command to execute; in the guest one line for the guest's shell."""
        if self.guest:
            return [GUEST, "run", "--", self.command.replace("PYTHON", "python3")]
        return self.command.replace("PYTHON", sys.executable).split()


BENCHES = (
    Bench("messages", "PYTHON tests/bench/messages.py"),
    Bench("engine", "PYTHON tests/bench/engine.py"),
    Bench("needs", "PYTHON tests/bench/needs.py"),
    Bench("ablation", "PYTHON tests/bench/ablation.py"),
    Bench("mixes", "PYTHON tests/bench/mixes.py"),
    Bench("api", "PYTHON tests/bench/api.py"),
    # An emulated machine has a tenth of the speed: fewer pairs, at a lower rate.
    Bench(
        "api-guest",
        f"{START_DAEMON}PYTHON tests/bench/api.py --socket /run/agentcg/agentcg.sock"
        " --runs 1 --pairs 500 --rate 50",
        guest=True,
    ),
    Bench("placement", "PYTHON tests/bench/cgroup_placement.py"),
    Bench("placement-guest", "PYTHON tests/bench/cgroup_placement.py --rounds 200", guest=True),
    Bench("cli-start", "PYTHON tests/bench/cli_start.py"),
    Bench(
        "cli-start-guest",
        f"{START_DAEMON}PYTHON tests/bench/cli_start.py --rounds 10"
        " --socket /run/agentcg/agentcg.sock",
        guest=True,
    ),
    Bench("hooks", "PYTHON tests/bench/hooks.py --claude 20"),
    Bench("reaction", f"{START_DAEMON}PYTHON tests/bench/reaction.py", guest=True),
    Bench("bpf", "PYTHON tests/bench/bpf_cost.py"),
    Bench("overhead", "PYTHON tests/bench/overhead.py --favordynmods --bound"),
    Bench("detection", "PYTHON tests/bench/detection.py --favordynmods"),
    Bench("attribution", "PYTHON tests/bench/attribution.py"),
    Bench("exec-load", "PYTHON tests/bench/exec_load.py"),
    Bench("guest", f"{GUEST} bench --cold-build"),
)


def machine() -> dict[str, Any]:
    """What the figures of this machine belong to."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    models = [line.partition(": ")[2] for line in cpuinfo.splitlines() if "model name" in line]
    commit = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {
        "kernel": platform.release(),
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or None,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def run(bench: Bench) -> Any:
    """What a benchmark printed; raises CalledProcessError or ValueError."""
    arguments = bench.arguments()
    print("+", *arguments, file=sys.stderr, flush=True)
    done = subprocess.run(arguments, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def figures(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of a result, with the path to each as its name."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from figures(one, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from figures(one, f"{name}[{number}]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def markdown(machine_: dict[str, Any], results: dict[str, Any]) -> str:
    """The figures as tables."""
    lines = ["# Benchmarks", "", "| machine | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in machine_.items()]
    for title, result in results.items():
        lines += ["", f"## {title}", "", "| figure | value |", "|---|---:|"]
        lines += [f"| {name} | {value:.6g} |" for name, value in figures(result)]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write, say where; the exit status."""
    titles = [bench.title for bench in BENCHES]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("titles", nargs="*", metavar="TITLE", help=", ".join(titles))
    wanted = parser.parse_args().titles or titles
    if unknown := set(wanted) - set(titles):
        parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(titles)}")
    described = machine()
    results: dict[str, Any] = {}
    failed: list[str] = []
    for bench in (bench for bench in BENCHES if bench.title in wanted):
        try:
            results[bench.title] = run(bench)
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            print(f"bench: {bench.title}: {error}", file=sys.stderr)
            failed.append(bench.title)
    OUT.mkdir(parents=True, exist_ok=True)
    document = {"machine": described, "results": results, "failed": failed}
    (OUT / "results.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    text = markdown(described, results)
    (OUT / "results.md").write_text(text, encoding="utf-8")
    print(text)
    print(f"Written: {OUT}/results.json and results.md", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
