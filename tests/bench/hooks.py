# SPDX-License-Identifier: Apache-2.0
"""What hooks cost: the programs by themselves, and a turn of Claude Code with and without them.

    python tests/bench/hooks.py [--rounds 60] [--claude TURNS]

"shells": `bash -c true` by itself and with what puts it into a call. "alone": start to end of one
process, without a daemon and with one (begin and end of a call take turns). `nothing` is a compiled
program that only reads its input, `python` an interpreter that does, started as fast as it can be
(-I -S -X frozen_modules). "claude": from one request of
Claude Code to its next, minus the model's delay: the tool call (`true`), its hooks, and the client
itself; needs root, npm and what tests/clients needs. "may wait": as `agentcg install-hooks` puts it
in. `pair`: the difference to no hooks at all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from agentcg import native  # noqa: E402
from agentcg.daemon.hooks.settings import put_in  # noqa: E402
from clients.catalogue import CLIENTS, Place  # noqa: E402
from clients.install import installed  # noqa: E402
from clients.run import environment, stage  # noqa: E402
from daemon_support import Daemon, own_daemon  # noqa: E402

NOTHING_C = (
    "#include <unistd.h>\n"
    "int main(void){static char b[65536];while(read(0,b,sizeof b)>0);return 0;}\n"
)
NOTHING_PYTHON = "import posix\nwhile posix.read(0, 65536): pass\n"
QUICK_PYTHON = ("/usr/bin/python3", "-I", "-S", "-X", "frozen_modules=on")
DELAY_S = 0.05
WAIT_S = 30
AS_INSTALLED = "compiled hook, may wait"


def event(name: str, number: int) -> bytes:
    return json.dumps(
        {"session_id": "bench0", "hook_event_name": name, "tool_name": "Bash",
         "tool_input": {"command": "true"}, "tool_use_id": f"toolu_{number}",
         "tool_response": {"stdout": "x" * 500}}
    ).encode()  # fmt: skip


def figures(times_s: list[float]) -> dict[str, float]:
    ms = sorted(one * 1000 for one in times_s)
    return {
        "p50_ms": round(statistics.median(ms), 2),
        "p90_ms": round(ms[int(len(ms) * 0.9)], 2),
        "least_ms": round(ms[0], 2),
    }


def programs(directory: Path) -> dict[str, list[str]]:
    """What is compared, by name."""
    source = directory / "nothing.c"
    source.write_text(NOTHING_C)
    compiler = native.compiler()
    assert compiler is not None, "no C compiler"
    subprocess.run([compiler, "-O2", "-static", "-o", directory / "nothing", source], check=True)
    (directory / "nothing.py").write_text(NOTHING_PYTHON)
    agentcg = str(Path(sys.executable).with_name("agentcg"))
    nothing, hook = str(directory / "nothing"), str(native.build(directory, "agentcg-hook"))
    return {
        "nothing": [nothing],
        "nothing, by a shell": ["/bin/sh", "-c", nothing],
        "python": [*QUICK_PYTHON, str(directory / "nothing.py")],
        "compiled hook": [hook, "claude-code"],
        AS_INSTALLED: [hook, "claude-code", "--wait", str(WAIT_S)],
        "agentcg hook": [agentcg, "hook", "claude-code"],
    }


def alone(rounds: int, directory: Path, daemon: Daemon | None) -> dict[str, Any]:
    """Milliseconds of one process each."""
    chosen = programs(directory)
    taken: dict[str, list[float]] = {name: [] for name in chosen}
    path = "/nonexistent" if daemon is None else str(daemon.path)
    env = {"PATH": os.environ["PATH"], "AGENTCG_SOCKET": path}
    for number in range(rounds):
        for which, (name, words) in enumerate(chosen.items()):
            for what in ("PreToolUse", "PostToolUse"):
                given = event(what, number * 100 + which)
                start = time.perf_counter()
                subprocess.run(words, input=given, env=env, check=True, capture_output=True)
                taken[name].append(time.perf_counter() - start)
    return {name: figures(times[2:]) for name, times in taken.items()}


def shells(rounds: int, directory: Path, daemon: Daemon) -> dict[str, Any]:
    """Milliseconds of `bash -c true`: itself, and by agentcg-shell with and without a daemon."""
    program = native.build(directory, "agentcg-shell")
    shim = directory / "front/bash"
    shim.parent.mkdir()
    shim.symlink_to(program)
    daemon.open("shells")
    env = {"PATH": os.environ["PATH"], "AGENTCG_SESSION": "shells"}
    there = {**env, "AGENTCG_SOCKET": str(daemon.path)}
    away = {**env, "AGENTCG_SOCKET": "/nonexistent"}
    join = {**there, "BASH_ENV": str(native.SOURCES / "bash_env.sh"), "AGENTCG_SHELL": str(program)}
    kinds = {
        "bash": ("/bin/bash", away),
        "agentcg-shell, no daemon": (str(shim), away),
        "agentcg-shell": (str(shim), there),
        "BASH_ENV": ("/bin/bash", join),
    }
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, (shell, given) in kinds.items():
            start = time.perf_counter()
            subprocess.run([shell, "-c", "true"], env=given, check=True)
            taken[kind].append(time.perf_counter() - start)
    found: dict[str, Any] = {kind: figures(times[2:]) for kind, times in taken.items()}
    for kind in kinds:
        found[kind]["added_p50_ms"] = round(found[kind]["p50_ms"] - found["bash"]["p50_ms"], 2)
    return found


def claude(turns: int, kind: str, daemon: Daemon, hook: list[str]) -> list[float]:
    """Seconds from request to request of one run."""

    def prepare(place: Place) -> None:
        if kind == "none":
            return
        entry = {"type": "command", "command": hook[0], "args": hook[1:], "timeout": 5}
        group = {"matcher": "Bash", "hooks": [entry]}
        settings: dict[str, Any] = {"hooks": {"PreToolUse": [group], "PostToolUse": [group]}}
        if kind == AS_INSTALLED:
            settings = put_in({}, "claude-code", hook[:2], WAIT_S)
        (place.home / ".claude").mkdir()
        (place.home / ".claude/settings.json").write_text(json.dumps(settings))

    known = CLIENTS["claude-code"]
    client = replace(
        known, prepare=prepare,
        env=lambda place: {**known.env(place), "AGENTCG_SOCKET": str(daemon.path)},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        place = Place(installed(client), Path(directory) / "home", Path(directory) / "work")
        place.home.mkdir()
        place.work.mkdir()
        client.prepare(place)
        spec = {
            "argv": client.argv(place), "cwd": str(place.work), "out": f"{directory}/out",
            "timeout_s": 240, "env": environment(client, place),
            "script": {"turns": [["true"]] * turns, "delay_s": DELAY_S},
        }  # fmt: skip
        with stage(directory, spec) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            process.stdin.write("go\n")
            process.stdin.flush()
            at = json.loads(process.stdout.readline())["heard_at"]
    return [later - at[number] - DELAY_S for number, later in enumerate(at[1:])][2:]


def turns_of_claude(
    turns: int, runs: int, directory: Path, daemon: Daemon, only: list[str]
) -> dict[str, Any]:
    # `nothing`: what any hook costs, whatever it does.
    kinds = {"none": [], **programs(directory)}
    kinds = {kind: hook for kind, hook in kinds.items() if not only or kind in only}
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(runs):
        for kind, hook in kinds.items():
            taken[kind] += claude(turns, kind, daemon, hook)
    base = statistics.median(taken["none"]) * 1000
    found: dict[str, Any] = {}
    for kind, times in taken.items():
        found[kind] = figures(times)
        found[kind]["pair_p50_ms"] = round(found[kind]["p50_ms"] - base, 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="What hooks cost.")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--claude", type=int, default=0, metavar="TURNS")
    parser.add_argument("--runs", type=int, default=2, help="of Claude Code, of each kind")
    parser.add_argument("--only", nargs="*", default=[], help="of the kinds; 'none' among them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, own_daemon() as daemon:
        directory = Path(home)
        result: dict[str, Any] = {
            "load_average": round(os.getloadavg()[0], 1),
            "alone": {
                "without daemon": alone(given.rounds, directory, None),
                "with daemon": alone(given.rounds, directory, daemon),
            },
            "shells": shells(given.rounds, directory, daemon),
        }
        if given.claude:
            result["claude"] = turns_of_claude(
                given.claude, given.runs, directory, daemon, given.only
            )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
