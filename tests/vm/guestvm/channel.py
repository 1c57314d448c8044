# SPDX-License-Identifier: Apache-2.0
"""The host's end of a session with the guest's agent: one port, one command at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from guestvm.errors import GuestError
from guestvm.frames import NONCE_SIZE, Decoder, Frame, FrameError, Greeting, Kind, encode, greeting
from guestvm.qemu import PORT_SOCKET, PORTS
from guestvm.sockets import connect

CHUNK_BYTES = 1 << 16
CONNECT_TIMEOUT_S = 10.0
GREETING_RETRY_S = 0.25
ANSWER_TIMEOUT_S = 60.0
TERM_GRACE_S = 3.0
KILL_GRACE_S = 15.0


class Sink(Protocol):
    """Where output goes."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""
        ...

    def flush(self) -> object:
        """Pass it on."""
        ...


@dataclass(frozen=True)
class Request:
    """A command: argv or, if that is one string, a line for the shell."""

    argv: Sequence[str]
    cwd: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    stdin: bool = False
    terminal: tuple[int, int] | None = None  # rows, columns
    align_s: float = 0  # start when the guest's monotonic clock is a multiple of this


@dataclass(frozen=True)
class Outcome:
    """How a command ended: `status` as a shell sees it (128 + n for signal n)."""

    status: int
    timed_out: bool
    seconds: float


class Channel:
    """A session; a context manager. Closing it kills a command that still runs."""

    def __init__(self, directory: Path, lost: Callable[[str], GuestError], timeout_s: float):
        """Greet the agent of the guest in `directory`; `lost(reason)` makes the error of a guest
        that went away."""
        self._lost = lost
        self._decoder = Decoder()
        self._exchange: _Exchange | None = None
        self._lock, self._socket = _free_port(directory, lost)
        try:
            self._greet(timeout_s)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
        self._lock.close()

    def _greet(self, timeout_s: float) -> None:
        """Greet until the agent answers: a booting guest drops what comes before it listens."""
        nonce = os.urandom(NONCE_SIZE)
        deadline_s = time.monotonic() + timeout_s
        self._socket.settimeout(GREETING_RETRY_S)
        while time.monotonic() < deadline_s:
            with contextlib.suppress(TimeoutError):
                self._socket.sendall(greeting(nonce))
                while Greeting(nonce) not in self._receive():
                    pass
                return
        raise self._lost(f"no answer within {timeout_s:.0f} s")

    def _receive(self) -> list[Greeting | Frame]:
        try:
            data = self._socket.recv(CHUNK_BYTES)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._lost(f"connection lost: {error}") from error
        if not data:
            raise self._lost("the guest went away")
        try:
            return self._decoder.feed(data)
        except FrameError as error:
            raise self._lost(str(error)) from error

    def configure(self, hostname: str, *, set_clock: bool) -> None:
        """Tell a fresh guest its name, the time and where its random numbers begin."""
        seed = os.urandom(32).hex() if set_clock else None
        settings = {
            "hostname": hostname,
            "seed": seed,
            "time_s": time.time() if set_clock else None,
        }
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        try:
            self._socket.sendall(encode(Kind.CONFIGURE, json.dumps(settings).encode()))
            while not any(
                isinstance(item, Frame) and item.kind == Kind.CONFIGURED for item in self._receive()
            ):
                pass
        except TimeoutError as error:
            raise self._lost("no answer to its configuration") from error

    def run(
        self,
        request: Request,
        stdout: Sink,
        stderr: Sink,
        stdin: IO[bytes] | None = None,
        timeout_s: float | None = None,
    ) -> Outcome:
        """Run a command to its end; after `timeout_s` of the host's time kill all its processes."""
        exchange = _Exchange(self._socket, stdout, stderr, stdin, timeout_s)
        exchange.queue(Kind.START, json.dumps(asdict(request)).encode())
        self._exchange = exchange
        started_s = time.monotonic()
        self._socket.setblocking(False)
        with exchange.selector:
            while exchange.status is None:
                exchange.step(self._receive)
                if exchange.hopeless():
                    raise self._lost("it does not end its command when told to")
        self._exchange = None
        return Outcome(exchange.status, exchange.timed_out, time.monotonic() - started_s)

    def resize(self, rows: int, columns: int) -> None:
        """Tell a running command the new size of its terminal; for a signal handler."""
        if self._exchange is not None:
            self._exchange.queue(Kind.RESIZE, json.dumps([rows, columns]).encode())
            self._exchange.flush()


class _Exchange:
    """One command's traffic in both directions, and its time limit."""

    def __init__(
        self,
        connection: socket.socket,
        stdout: Sink,
        stderr: Sink,
        stdin: IO[bytes] | None,
        timeout_s: float | None,
    ) -> None:
        self.status: int | None = None
        self.timed_out = False
        self._connection = connection
        self._sinks = {int(Kind.STDOUT): stdout, int(Kind.STDERR): stderr}
        self._stdin = stdin
        self._unsent = bytearray()
        self._deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._remedies = [(Kind.TERMINATE, TERM_GRACE_S), (Kind.KILL, KILL_GRACE_S)]
        self.selector = selectors.PollSelector()  # epoll takes no regular files
        self.selector.register(connection, selectors.EVENT_READ)

    def queue(self, kind: Kind, payload: bytes = b"") -> None:
        """Send a frame as soon as there is room."""
        self._unsent += encode(kind, payload)

    def flush(self) -> None:
        """Send what there is room for."""
        with contextlib.suppress(BlockingIOError):
            del self._unsent[: self._connection.send(self._unsent[:CHUNK_BYTES])]

    def hopeless(self) -> bool:
        """Whether the time is over and nothing helped."""
        return self._remaining_s() == 0 and not self._remedies

    def _remaining_s(self) -> float | None:
        return None if self._deadline_s is None else max(0.0, self._deadline_s - time.monotonic())

    def step(self, receive: Callable[[], list[Greeting | Frame]]) -> None:
        """Wait for one thing to happen and deal with it."""
        self._enforce_deadline()
        self._watch()
        for key, events in self.selector.select(self._remaining_s()):
            if key.fileobj is self._stdin:
                self._read_stdin()
            elif events & selectors.EVENT_WRITE:
                self.flush()
            if key.fileobj is self._connection and events & selectors.EVENT_READ:
                for item in receive():
                    if isinstance(item, Frame):
                        self._handle(item)

    def _watch(self) -> None:
        """Ask for what can be used: room to write if there is something, input if there is room."""
        write = selectors.EVENT_WRITE if self._unsent else 0
        self.selector.modify(self._connection, selectors.EVENT_READ | write)
        if self._stdin is not None:
            wanted = len(self._unsent) < 4 * CHUNK_BYTES
            registered = self._stdin in self.selector.get_map()
            if wanted and not registered:
                self.selector.register(self._stdin, selectors.EVENT_READ)
            elif registered and not wanted:
                self.selector.unregister(self._stdin)

    def _read_stdin(self) -> None:
        assert self._stdin is not None
        data = os.read(self._stdin.fileno(), CHUNK_BYTES)
        self.queue(Kind.STDIN, data)
        if not data:
            self.selector.unregister(self._stdin)
            self._stdin = None

    def _handle(self, frame: Frame) -> None:
        if frame.kind == Kind.EXIT:
            self.status = int(frame.payload)
        elif frame.kind in self._sinks:
            sink = self._sinks[frame.kind]
            sink.write(frame.payload)
            sink.flush()

    def _enforce_deadline(self) -> None:
        if self._remaining_s() == 0 and self._remedies:
            self.timed_out = True
            kind, grace_s = self._remedies.pop(0)
            self.queue(kind)
            self._deadline_s = time.monotonic() + grace_s


def _free_port(directory: Path, lost: Callable[[str], GuestError]) -> tuple[IO[str], socket.socket]:
    """A port that no other process uses: its lock and its connection."""
    for index in range(PORTS):
        try:
            lock = (directory / f"port{index}.lock").open("w")
        except OSError as error:
            raise lost(f"it is gone: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock, connect(directory / PORT_SOCKET.format(index), CONNECT_TIMEOUT_S)
        except BlockingIOError:
            lock.close()
        except OSError as error:
            lock.close()
            raise lost(f"port {index}: {error}") from error
    raise GuestError(f"{PORTS} commands run in this guest already")
