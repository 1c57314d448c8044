# SPDX-License-Identifier: Apache-2.0
"""`make run`: three agents under the daemon's control, on this host or in a guest."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from agentcg.errors import AgentcgError
from demo.choice import GENERATED, from_recordings
from demo.machine import Machine, NotHere, choose
from demo.show import show

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
GUEST = ROOT / "tests/vm/guest"
GUEST_TRACES = "/tmp/traces"


def main() -> int:
    """Choose where, then show; the exit status."""
    options = parse()
    signal.signal(signal.SIGTERM, leave)
    try:
        if options.stage:
            return stage(options)
        names = from_recordings(options.traces) if options.traces else GENERATED
        where, why = choose(Machine.look(), options.where)
        print(f"Running in the {where}: {why}." if where == "guest" else f"Running here: {why}.")
        print("Playing", "recorded" if options.traces else "generated", "sessions:", flush=True)
        for name in names:
            print(" ", Path(name).name)
        return on_host(names) if where == "host" else in_guest(names)
    except (AgentcgError, NotHere) as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--in", dest="where", choices=("host", "guest"))
    parser.add_argument("--traces", type=Path, metavar="DIR", help="play recordings from here")
    # How the demonstration calls itself inside the guest:
    parser.add_argument("--stage", nargs=3, metavar="TRACE", help=argparse.SUPPRESS)
    parser.add_argument("--live", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--columns", type=int, default=80, help=argparse.SUPPRESS)
    return parser.parse_args()


def leave(number: int, _: FrameType | None) -> None:
    """End as from ^C, so that everything is cleaned up."""
    sys.exit(128 + number)


def columns() -> int:
    """Width of the terminal, as far as it is useful."""
    return min(shutil.get_terminal_size((80, 24)).columns, 120)


def on_host(names: Sequence[str]) -> int:
    """Take this host for the time of the demonstration."""
    try:
        subprocess.run(
            [SYSTEMD / "install", "--runtime", "--bin", Path(sys.executable).parent], check=True
        )
        return show(names, live=sys.stdout.isatty(), columns=columns())
    except subprocess.CalledProcessError as error:
        print(f"run: the units did not start (status {error.returncode})", file=sys.stderr)
        print("run: see journalctl -u agentcgd", file=sys.stderr)
        return 1
    finally:
        subprocess.run([SYSTEMD / "uninstall", "--runtime", "--force"], check=False)
        print("The host is as it was.", flush=True)


def in_guest(names: Sequence[str]) -> int:
    """Show it in a throw-away guest that has the checkout installed."""
    files = [name for name in names if not name.startswith("gen:")]
    pushes = [word for file in files for word in ("--push", f"{file}:{GUEST_TRACES}")]
    there = [f"{GUEST_TRACES}/{Path(name).name}" if name in files else name for name in names]
    inside = ["python3", "-m", "demo", "--stage", *there, "--columns", str(columns())]
    if sys.stdout.isatty():
        inside.append("--live")
    command = [str(GUEST), "run", *pushes, "--", "env", "PYTHONPATH=tests", *inside]
    return subprocess.run(command, check=False).returncode


def stage(options: argparse.Namespace) -> int:
    """Inside the guest: start the installed units and show."""
    if subprocess.run(["systemctl", "start", "agentcgd.service"], check=False).returncode:
        journal = ["journalctl", "--unit=agentcgd.service", "--no-pager", "--lines=20"]
        subprocess.run(journal, stdout=sys.stderr, check=False)
        return 1
    return show(options.stage, live=options.live, columns=options.columns)


if __name__ == "__main__":
    os.environ["PYTHONUNBUFFERED"] = "1"
    sys.exit(main())
