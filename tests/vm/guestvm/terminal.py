# SPDX-License-Identifier: Apache-2.0
"""An interactive command in a guest: our terminal is raw, the guest's is the real one."""

from __future__ import annotations

import os
import sys
import termios
import tty

from guestvm.channel import Request
from guestvm.errors import UsageError
from guestvm.guest import Guest


def interactive(guest: Guest, argv: list[str], cwd: str) -> int:
    """Run `argv` with a terminal until it ends; its status."""
    if not sys.stdin.isatty():
        raise UsageError("a shell needs a terminal; for scripts there is exec -i")
    size = os.get_terminal_size()
    request = Request(
        argv,
        cwd=cwd,
        env={"TERM": os.environ.get("TERM", "dumb")},
        stdin=True,
        terminal=(size.lines, size.columns),
    )
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        return guest.run(request, stdin=sys.stdin.buffer).status
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
