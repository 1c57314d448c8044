#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`agentcg bench policy` in the guest, in goes, and the simulator's density here.

    python tests/bench/policy.py --traces DIR [--minutes 45] [--kernel NAME] [-- OPTIONS]

Each go is a throw-away guest that adds to .cache/policy/KERNEL/policy.json, so that one that fails
costs one go and no more. OPTIONS are those of `agentcg bench policy`. What is left out when the
time is up is in the file (`left_out`); the same command goes on with it. Prints the file's figures
and the density as JSON.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / ".cache/policy"
GO_S = 420  # of measuring, in one guest; longer once no piece of work fits into it
BOOT_S = 60
READY = (
    "systemctl start agentcgd && for i in $(seq 100); do agentcg status >/dev/null && break;"
    " sleep 0.3; done"
)
DENSITY = ("--agents", "100", "--memory", "16G", "--until", "20m", "--density")


def one_go(kernel: str, traces: Path | None, options: list[str], seconds: float) -> None:
    """Measure for so long in a new guest."""
    place = OUT / kernel
    place.mkdir(parents=True, exist_ok=True)
    words = ["agentcg", "bench", "policy", "--json", "/srv/policy/policy.json"]
    words += ["--budget", f"{seconds:.0f}s", "--zram", "1G", *options]
    pushed = ["--push", f"{place}:/srv/policy"]
    if traces is not None:
        words += ["--traces", "/srv/traces"]
        pushed += ["--push", f"{traces}:/srv/traces"]
    command = [
        str(ROOT / "tests/vm/guest"), "run", "--kernel", kernel,
        "--timeout", f"{seconds + 120:.0f}", *pushed,
        "--fetch", f"/srv/policy/policy.json:{place}", "--", f"{READY}; {shlex.join(words)}",
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)


def left_out(kernel: str) -> list[str]:
    """What is still to be measured, as far as is known."""
    kept = json.loads((OUT / kernel / "policy.json").read_bytes())
    return list(kept["left_out"])


def density(traces: Path | None) -> Any:
    """How many agents a simulated host carries."""
    out = OUT / "density.json"
    OUT.mkdir(parents=True, exist_ok=True)
    named = [] if traces is None else ["--traces", str(traces)]
    program = [str(Path(sys.executable).with_name("agentcg")), "simulate", *DENSITY]
    subprocess.run([*program, *named, "--json", str(out)], check=True, stdout=sys.stderr)
    return json.loads(out.read_bytes())


def main() -> int:
    """Measure, print; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--traces", type=Path, metavar="DIR", help="else generated ones")
    parser.add_argument("--minutes", type=float, default=45.0, help="of measuring in guests")
    parser.add_argument("--kernel", default="backports", help="a name of tests/vm/kernels")
    parser.add_argument("--no-density", action="store_true", help="leave the simulator out")
    parser.add_argument("options", nargs="*", help="of agentcg bench policy")
    given = parser.parse_args()
    until_s = time.monotonic() + given.minutes * 60
    go_s, left = GO_S, ["all"]
    while left:
        seconds = min(go_s, until_s - time.monotonic() - BOOT_S)
        if seconds < GO_S / 2:
            break
        one_go(given.kernel, given.traces, given.options, seconds)
        before, left = left, left_out(given.kernel)
        if left == before:
            go_s *= 2
    kept = json.loads((OUT / given.kernel / "policy.json").read_bytes())
    found = {name: kept[name] for name in ("asked", "machine", "speed", "late_share", "figures")}
    found["left_out"], found["warnings"] = kept["left_out"], kept["warnings"]
    if not given.no_density:
        simulated = density(given.traces)
        found["density"], found["curve"] = simulated["density"], simulated["curve"]
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
