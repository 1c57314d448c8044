#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All benchmarks, here and in the guest; figures with the machine that they belong to.

    make bench                                  everything
    python tests/bench/run.py engine messages   some, by name

Each benchmark is a program of this folder that writes JSON; what it measures and how is in its
own first lines. This one runs them one after another and collects what they wrote into
.cache/bench/results.json and .cache/bench/results.md. Exit status 1 if one of them failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("tests/bench")
GUEST = Path("tests/vm/guest")
OUT = ROOT / ".cache/bench"
START_DAEMON = "systemctl start agentcgd.service && "


@dataclass(frozen=True)
class Bench:
    """One benchmark: a program of this folder, its options, and where it means something."""

    program: str
    options: str = ""
    here: bool = True
    guest: str | None = None  # options in the guest; None: not there
    needs_daemon: bool = False  # in the guest: the unit is started first


BENCHES = (
    Bench("messages"),
    Bench("engine"),
    Bench(
        "api",
        guest="--socket /run/agentcg/agentcg.sock --pairs 500 --rate 20 --seconds 10 --runs 1",
        needs_daemon=True,
    ),
    Bench("cgroup_placement", guest="--rounds 200"),
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


def run(command: list[str], **settings: Any) -> None:
    """Run a command, shown first; raises CalledProcessError."""
    print("+", *command, flush=True)
    subprocess.run(command, cwd=ROOT, check=True, **settings)


def run_here(bench: Bench, out: Path) -> Any:
    """One benchmark on this machine."""
    program = str(HERE / f"{bench.program}.py")
    file = out / "here.json"
    run([sys.executable, program, *bench.options.split(), "--json", str(file)])
    return json.loads(file.read_text(encoding="utf-8"))


def run_in_guest(bench: Bench, out: Path) -> Any:
    """One benchmark in a throw-away guest with the default kernel."""
    inside = f"python3 {HERE}/{bench.program}.py {bench.guest} --json /root/{bench.program}.json"
    run(
        [
            str(GUEST), "run", "--fetch", f"/root/{bench.program}.json:{out}", "--",
            (START_DAEMON if bench.needs_daemon else "") + inside,
        ],
    )  # fmt: skip
    return json.loads((out / f"{bench.program}.json").read_text(encoding="utf-8"))


def guest_times(out: Path) -> dict[str, float]:
    """Seconds that building the guest and running a command in it take, from nothing."""
    times = {}
    steps = {
        "build_cold_s": ["build"],
        "run_first_s": ["run", "--", "true"],
        "run_again_s": ["run", "--", "true"],
        "run_cold_boot_s": ["run", "--cold", "--", "true"],
    }
    environment = os.environ | {"AGENTCG_GUEST_CACHE": str(out / "cache")}
    for name, arguments in steps.items():
        began_s = time.monotonic()
        run([str(GUEST), *arguments], env=environment)
        times[name] = round(time.monotonic() - began_s, 2)
    return times


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


def measure(wanted: set[str], out: Path) -> tuple[dict[str, Any], list[str]]:
    """Results by title, and titles of what failed."""
    jobs = [
        (f"{bench.program} ({where})", function, bench)
        for bench in BENCHES
        for where, function, there in (
            ("here", run_here, bench.here),
            ("guest", run_in_guest, bench.guest is not None),
        )
        if there and (not wanted or bench.program in wanted)
    ]
    results: dict[str, Any] = {}
    failed: list[str] = []
    for title, function, bench in jobs:
        try:
            results[title] = function(bench, out)
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            print(f"bench: {title}: {error}", file=sys.stderr)
            failed.append(title)
    if not wanted or "guest" in wanted:
        try:
            results["guest"] = guest_times(out)
        except subprocess.CalledProcessError as error:
            print(f"bench: guest: {error}", file=sys.stderr)
            failed.append("guest")
    return results, failed


def main() -> int:
    """Measure, write, say where; the exit status."""
    names = [*(bench.program for bench in BENCHES), "guest"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*names, []], help=", ".join(names))
    wanted = set(parser.parse_args().names)
    described = machine()
    with tempfile.TemporaryDirectory(prefix="agentcg-bench-") as out:
        results, failed = measure(wanted, Path(out))
    OUT.mkdir(parents=True, exist_ok=True)
    document = {"machine": described, "results": results, "failed": failed}
    (OUT / "results.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    text = markdown(described, results)
    (OUT / "results.md").write_text(text, encoding="utf-8")
    print(text, f"\nWritten to {OUT / 'results.json'} and {OUT / 'results.md'}", sep="")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
