# SPDX-License-Identifier: Apache-2.0
"""A command that runs in the guest: its process, its cgroup, its pipes or its terminal."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any, Protocol

from guestvm.frames import Kind
from guestvm.loop import Loop

CHUNK_BYTES = 1 << 16
BACKLOG_BYTES = 1 << 19  # unread input: beyond it the host has to wait
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


class Owner(Protocol):
    """Who started the command and hears of it."""

    def send(self, kind: Kind, payload: bytes) -> None:
        """Output."""

    def resume(self) -> None:
        """There is room for input again."""

    def command_ended(self, status: int) -> None:
        """The command's exit status as a shell sees it; the end of everything."""


def commands_cgroup() -> Path:
    """The delegated directory that holds the agent's leaf and the commands'."""
    own = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
    return Path("/sys/fs/cgroup" + own).parent


class Command:
    """A running command: its process, its cgroup, its pipes or its terminal."""

    _count = 0

    def __init__(self, loop: Loop, request: dict[str, Any], owner: Owner) -> None:
        Command._count += 1
        self.leaves_nothing = False
        self._loop = loop
        self._owner = owner
        self._cgroup = commands_cgroup() / f"command-{Command._count}"
        self._cgroup.mkdir()
        self._stdin = bytearray()
        self._stdin_ends = False
        self._stdin_fd = -1
        self._outputs: dict[int, Kind] = {}
        self._terminal = -1
        try:
            self._process = self._spawn(request)
        except OSError:
            self._cgroup.rmdir()
            raise
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.add(self._pidfd, select.EPOLLIN, self._on_exit)
        for fd in self._outputs:
            loop.add(fd, select.EPOLLIN, functools.partial(self._on_output_ready, fd))

    def _spawn(self, request: dict[str, Any]) -> subprocess.Popen[bytes]:
        size = request.get("terminal")
        stdin = subprocess.PIPE if request.get("stdin") else subprocess.DEVNULL
        output = subprocess.PIPE
        if size is not None:
            self._terminal, stdin = pty.openpty()
            output = stdin
            self.resize(size)
        process = subprocess.Popen(
            request["argv"],
            cwd=request.get("cwd") or "/root",
            env=ENVIRONMENT | (request.get("env") or {}),
            start_new_session=True,
            preexec_fn=lambda: self._enter(size is not None),  # noqa: PLW1509 - one thread only
            bufsize=0,
            stdin=stdin,
            stdout=output,
            stderr=output,
        )
        if size is not None:
            os.close(stdin)
        self._keep_ends(process)
        return process

    def _enter(self, has_terminal: bool) -> None:
        """In the child, before it becomes the command."""
        (self._cgroup / "cgroup.procs").write_text("0")
        Path("/proc/self/oom_score_adj").write_text("0")
        if has_terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def _keep_ends(self, process: subprocess.Popen[bytes]) -> None:
        """Note our ends of the pipes, or of the terminal."""
        if self._terminal >= 0:
            self._outputs[self._terminal] = Kind.STDOUT
            self._stdin_fd = os.dup(self._terminal)
        if process.stdout is not None and process.stderr is not None:
            self._outputs[process.stdout.fileno()] = Kind.STDOUT
            self._outputs[process.stderr.fileno()] = Kind.STDERR
        if process.stdin is not None:
            self._stdin_fd = process.stdin.fileno()
        for fd in (*self._outputs, self._stdin_fd):
            if fd >= 0:
                os.set_blocking(fd, False)

    def feed(self, data: bytes) -> None:
        """Input for the command; nothing is its end."""
        self._stdin += data
        self._stdin_ends |= not data
        self._write_stdin()

    def wants_input(self) -> bool:
        """Whether there is room for more input."""
        return len(self._stdin) < BACKLOG_BYTES

    def _write_stdin(self, _events: int = 0) -> None:
        if self._stdin_fd < 0:
            self._stdin.clear()
            return
        try:
            while self._stdin:
                del self._stdin[: os.write(self._stdin_fd, self._stdin[:CHUNK_BYTES])]
        except BlockingIOError:
            self._loop.remove(self._stdin_fd)
            self._loop.add(self._stdin_fd, select.EPOLLOUT, self._on_stdin_room)
            return
        except OSError:  # the command does not read any more
            self._stdin.clear()
            self._stdin_ends = True
        self._loop.remove(self._stdin_fd)
        if self._stdin_ends:
            self._close_stdin()

    def _on_stdin_room(self, _events: int) -> None:
        self._write_stdin()
        self._owner.resume()

    def _close_stdin(self) -> None:
        if self._stdin_fd < 0:
            return
        self._loop.remove(self._stdin_fd)
        if self._process.stdin is not None:
            self._process.stdin.close()
        else:
            os.close(self._stdin_fd)
        self._stdin_fd = -1

    def resize(self, size: list[int]) -> None:
        """Tell the terminal its rows and columns."""
        if self._terminal >= 0:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def pause_output(self, paused: bool) -> None:
        """Stop or go on reading what the command writes."""
        for fd in self._outputs:
            self._loop.change(fd, 0 if paused else select.EPOLLIN)

    def terminate(self) -> None:
        """Ask the command to end; nothing of it will outlive that."""
        self.leaves_nothing = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL everything in the command's cgroup."""
        with contextlib.suppress(FileNotFoundError):
            (self._cgroup / "cgroup.kill").write_text("1")

    def close(self) -> None:
        """Forget the command; what it left behind keeps its cgroup."""
        self._close_stdin()
        for fd in list(self._outputs):
            self._close_output(fd)
        self._loop.remove(self._pidfd)
        os.close(self._pidfd)
        with contextlib.suppress(OSError):
            self._cgroup.rmdir()

    def _close_output(self, fd: int) -> None:
        self._loop.remove(fd)
        del self._outputs[fd]
        if fd == self._terminal:
            os.close(fd)
            self._terminal = -1
            return
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed and pipe.fileno() == fd:
                pipe.close()

    def _on_output_ready(self, fd: int, _events: int) -> None:
        self._on_output(fd)

    def _on_output(self, fd: int) -> bool:
        """Pass on one piece; False when there is none."""
        try:
            data = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the terminal's last user is gone
            data = b""
        if data:
            self._owner.send(self._outputs[fd], data)
        else:
            self._close_output(fd)
        return bool(data)

    def _on_exit(self, _events: int) -> None:
        status = self._process.wait()
        for fd in list(self._outputs):
            while fd in self._outputs and self._on_output(fd):
                pass
        self._owner.command_ended(status if status >= 0 else 128 - status)
