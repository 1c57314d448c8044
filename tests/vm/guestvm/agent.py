# SPDX-License-Identifier: Apache-2.0
"""The guest's end: runs the commands that arrive on the virtio-serial ports.

One thread, one epoll. Each port carries one session at a time and a session one command, which
gets a cgroup of its own below this service's. When the host's end goes away the command's whole
cgroup is killed; when the command ends by itself, what it left in the background stays.

Runs on the guest's Python with nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from frames import Decoder, Frame, FrameError, Greeting, Kind, encode, greeting

PORT_PREFIX = "agentcg."
CHUNK_BYTES = 1 << 16
BACKLOG_BYTES = 1 << 19  # unsent output, unread input: beyond it the other side has to wait
CLOCK_TOLERANCE_S = 0.05
RNDADDENTROPY = 0x40085203  # linux/random.h
RNDRESEEDCRNG = 0x5207
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}

Callback = Callable[[int], None]


class Loop:
    """An epoll and whom to call."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}

    def add(self, fd: int, events: int, callback: Callback) -> None:
        """Call `callback(events)` when `fd` is ready."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of `fd`; 0 pauses it (but for errors)."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Forget `fd`; harmless if it is not there."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def run(self) -> None:
        """For ever."""
        while True:
            for fd, events in self._epoll.poll():
                callback = self._callbacks.get(fd)
                if callback is not None:
                    callback(events)


def commands_cgroup() -> Path:
    """The delegated directory that holds the agent's leaf and the commands'."""
    own = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
    return Path("/sys/fs/cgroup" + own).parent


class Command:
    """A running command: its process, its cgroup, its pipes or its terminal."""

    _count = 0

    def __init__(self, loop: Loop, request: dict[str, Any], port: Port) -> None:
        Command._count += 1
        self.leaves_nothing = False
        self._loop = loop
        self._port = port
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
            os.set_blocking(fd, False)
            loop.add(fd, select.EPOLLIN, lambda _events, fd=fd: self._on_output(fd))

    def _spawn(self, request: dict[str, Any]) -> subprocess.Popen[bytes]:
        def enter() -> None:
            (self._cgroup / "cgroup.procs").write_text("0")
            Path("/proc/self/oom_score_adj").write_text("0")
            if size is not None:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        size = request.get("terminal")
        files: dict[str, int] = {}
        terminal_end = -1
        if size is not None:
            self._terminal, terminal_end = pty.openpty()
            self.resize(size)
            files = dict.fromkeys(("stdin", "stdout", "stderr"), terminal_end)
        else:
            files = {
                "stdin": subprocess.PIPE if request.get("stdin") else subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
            }
        process = subprocess.Popen(
            request["argv"],
            cwd=request.get("cwd") or "/root",
            env=ENVIRONMENT | (request.get("env") or {}),
            start_new_session=True,
            preexec_fn=enter,
            bufsize=0,
            **files,
        )
        if size is not None:
            os.close(terminal_end)
            self._outputs[self._terminal] = Kind.STDOUT
            self._stdin_fd = os.dup(self._terminal)
        else:
            assert process.stdout is not None
            assert process.stderr is not None
            self._outputs[process.stdout.fileno()] = Kind.STDOUT
            self._outputs[process.stderr.fileno()] = Kind.STDERR
            if process.stdin is not None:
                self._stdin_fd = process.stdin.fileno()
        if self._stdin_fd >= 0:
            os.set_blocking(self._stdin_fd, False)
        return process

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
        self._port.resume()

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

    def _on_output(self, fd: int) -> bool:
        """Pass on one piece; False when there is none."""
        try:
            data = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the terminal's last user is gone
            data = b""
        if data:
            self._port.send(self._outputs[fd], data)
        else:
            self._close_output(fd)
        return bool(data)

    def _on_exit(self, _events: int) -> None:
        status = self._process.wait()
        for fd in list(self._outputs):
            while fd in self._outputs and self._on_output(fd):
                pass
        self._port.command_ended(status if status >= 0 else 128 - status)


class Port:
    """One virtio-serial port: a session at a time."""

    def __init__(self, loop: Loop, device: Path) -> None:
        self._loop = loop
        self._fd = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._decoder = Decoder()
        self._unsent = bytearray()
        self._paused = False
        self._command: Command | None = None
        # Edge-triggered: while no host is there the port is permanently in the state EPOLLHUP.
        events = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
        loop.add(self._fd, events, self._on_ready)

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Queue a frame; the command waits when the queue is long."""
        self._unsent += encode(kind, payload)
        self._flush()
        if len(self._unsent) > BACKLOG_BYTES and self._command is not None:
            self._paused = True
            self._command.pause_output(True)

    def resume(self) -> None:
        """Read on: the command has room for input again."""
        self._on_ready(0)

    def command_ended(self, status: int) -> None:
        """Report the command's exit status and forget it."""
        self._drop_command(kill=self._command is not None and self._command.leaves_nothing)
        self.send(Kind.EXIT, str(status).encode())

    def _on_ready(self, events: int) -> None:
        if events & select.EPOLLHUP:
            self._drop_command(kill=True)
        self._flush()
        while self._command is None or self._command.wants_input():
            try:
                data = os.read(self._fd, CHUNK_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._drop_command(kill=True)
                return
            try:
                for item in self._decoder.feed(data):
                    self._handle(item)
            except FrameError as error:
                print(f"session dropped: {error}", file=sys.stderr)
                self._drop_command(kill=True)

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: os.write(self._fd, self._unsent[:CHUNK_BYTES])]
        except BlockingIOError:
            return
        if self._paused and self._command is not None:
            self._command.pause_output(False)
        self._paused = False

    def _handle(self, item: Greeting | Frame) -> None:
        if isinstance(item, Greeting):
            self._drop_command(kill=True)
            self._unsent[:] = greeting(item.nonce)
            self._flush()
        elif item.kind == Kind.CONFIGURE:
            configure(json.loads(item.payload))
            self.send(Kind.CONFIGURED)
        elif item.kind == Kind.START:
            self._start(json.loads(item.payload))
        elif self._command is not None:
            self._control(self._command, item)

    def _start(self, request: dict[str, Any]) -> None:
        self._drop_command(kill=True)
        wait_for_multiple(request.get("align_s") or 0)
        try:
            self._command = Command(self._loop, request, self)
        except (OSError, subprocess.SubprocessError) as error:
            self.send(Kind.STDERR, f"{request['argv'][0]}: {error}\n".encode())
            status = 127 if isinstance(error, FileNotFoundError) else 126
            self.send(Kind.EXIT, str(status).encode())

    @staticmethod
    def _control(command: Command, frame: Frame) -> None:
        if frame.kind == Kind.STDIN:
            command.feed(frame.payload)
        elif frame.kind == Kind.TERMINATE:
            command.terminate()
        elif frame.kind == Kind.KILL:
            command.kill()
        elif frame.kind == Kind.RESIZE:
            command.resize(json.loads(frame.payload))

    def _drop_command(self, *, kill: bool) -> None:
        if self._command is not None:
            command, self._command = self._command, None
            if kill:
                command.kill()
            command.close()


def configure(request: dict[str, Any]) -> None:
    """Make a restored guest one of its own: clock, hostname, random numbers."""
    now = request.get("time_s")
    if now is not None and abs(time.time() - now) > CLOCK_TOLERANCE_S:
        time.clock_settime(time.CLOCK_REALTIME, now)
    if request.get("hostname"):
        socket.sethostname(request["hostname"])
    if request.get("seed"):
        seed = bytes.fromhex(request["seed"])
        with Path("/dev/urandom").open("wb", buffering=0) as device:
            pool = struct.pack("ii", len(seed) * 8, len(seed)) + seed
            fcntl.ioctl(device, RNDADDENTROPY, pool)
            fcntl.ioctl(device, RNDRESEEDCRNG)


def wait_for_multiple(period_s: float) -> None:
    """Sleep until the monotonic clock is a multiple of `period_s`; 0 is no wait.

    In deterministic guests idle time passes at once, and commands that start at the same phase
    of every timer behave alike.
    """
    if period_s > 0:
        now = time.monotonic()
        time.sleep(period_s - now % period_s)


def main() -> None:
    """Serve every port of ours."""
    loop = Loop()
    for directory in sorted(Path("/sys/class/virtio-ports").glob("vport*")):
        name = (directory / "name").read_text().strip()
        if name.startswith(PORT_PREFIX):
            Port(loop, Path("/dev") / directory.name)
    loop.run()


if __name__ == "__main__":
    main()
