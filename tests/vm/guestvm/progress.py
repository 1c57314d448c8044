# SPDX-License-Identifier: Apache-2.0
"""What the tool says about itself: on stderr, so that the command's stdout stays the command's."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from guestvm.errors import GuestError

HEARTBEAT_S = 5.0
quiet = False


def say(text: str) -> None:
    """One line for the user."""
    if not quiet:
        warn(text)


def warn(text: str) -> None:
    """One line for the user, even when quiet."""
    print(f"guest: {text}", file=sys.stderr, flush=True)


def tail(path: Path, size_bytes: int = 3000) -> str:
    """The last lines of a log file; empty if there is none."""
    try:
        return path.read_bytes()[-size_bytes:].decode(errors="replace").strip()
    except OSError:
        return ""


def run_logged(argv: Sequence[str], log: Path, what: str) -> None:
    """Run a long step: output to `log`, its "I:" lines and a heartbeat to the user."""
    started_s = time.monotonic()
    ended = threading.Event()

    def heartbeat() -> None:
        while not ended.wait(HEARTBEAT_S):
            say(f"  {what}: {time.monotonic() - started_s:.0f} s")

    beat = threading.Thread(target=heartbeat, daemon=True)
    beat.start()
    try:
        with (
            log.open("w") as file,
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process,
        ):
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    file.write(line)
                    file.flush()
                    if line.startswith("I: "):
                        say(f"  {line[3:].strip()}")
            except BaseException:
                process.terminate()  # we are interrupted: it cleans up and ends
                raise
    finally:
        ended.set()
        beat.join()
    if process.returncode:
        raise GuestError(f"{what} failed ({argv[0]}: {process.returncode})\n{tail(log)}")
