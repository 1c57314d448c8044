# SPDX-License-Identifier: Apache-2.0
"""The guest's end: runs the commands that arrive on the virtio-serial ports.

One thread, one epoll. Each port carries one session at a time and a session one command, which
gets a cgroup of its own below this service's. When the host's end goes away the command's whole
cgroup is killed; when the command ends by itself, what it left in the background stays.

Runs on the guest's Python with nothing but the standard library.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from guestvm.command import CHUNK_BYTES, Command
from guestvm.frames import Decoder, Frame, FrameError, Greeting, Kind, encode, greeting
from guestvm.loop import Loop

PORT_PREFIX = "agentcg."
BACKLOG_BYTES = 1 << 19  # unsent output: beyond it the command has to wait
CLOCK_TOLERANCE_S = 0.05
RNDADDENTROPY = 0x40085203  # linux/random.h
RNDRESEEDCRNG = 0x5207


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
