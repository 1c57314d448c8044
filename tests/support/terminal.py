# SPDX-License-Identifier: Apache-2.0
"""A pseudo-terminal with a program in it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time

PATIENCE_S = 120.0


class Terminal:
    """The program `argv` has it as its controlling terminal, 80 columns by 24 lines."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            os.execve(argv[0], argv, env)
        self.text = ""

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self.fd, text.encode())

    def expect(self, text: str) -> None:
        """Read until the screen has shown `text`."""
        until = time.monotonic() + PATIENCE_S
        while text not in self.text:
            assert time.monotonic() < until, f"no {text!r} in {self.text!r}"
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    self.text += os.read(self.fd, 4096).decode()
                except OSError:
                    break
        assert text in self.text, self.text

    def status(self) -> int:
        """Wait for the end."""
        until = time.monotonic() + PATIENCE_S
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            assert time.monotonic() < until, f"it goes on: {self.text[-2000:]!r}"
            time.sleep(0.02)
        status = ended[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)
