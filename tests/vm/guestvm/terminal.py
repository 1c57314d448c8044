# SPDX-License-Identifier: Apache-2.0
"""An interactive command in a guest: our terminal is raw, the guest's is the real one."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import termios
import tty
from types import FrameType

from guestvm.channel import Request
from guestvm.errors import UsageError
from guestvm.guest import Guest


def interactive(guest: Guest, argv: list[str], cwd: str) -> int:
    """Run `argv` with a terminal until it ends; its status."""
    if not sys.stdin.isatty():
        raise UsageError("a shell needs a terminal; for scripts there is exec -i")
    size = shutil.get_terminal_size()
    request = Request(
        argv,
        cwd=cwd,
        env={"TERM": os.environ.get("TERM", "dumb")},
        stdin=True,
        terminal=(size.lines, size.columns),
    )
    before = termios.tcgetattr(sys.stdin)
    with guest.channel() as channel:

        def resized(_number: int, _frame: FrameType | None) -> None:
            now = shutil.get_terminal_size()
            channel.resize(now.lines, now.columns)

        signal.signal(signal.SIGWINCH, resized)
        try:
            tty.setraw(sys.stdin)
            out = sys.stdout.buffer
            return channel.run(request, out, out, sys.stdin.buffer).status
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
