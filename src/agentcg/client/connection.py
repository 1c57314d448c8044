# SPDX-License-Identifier: Apache-2.0
"""Requests over a Unix socket, with a bound on every wait; a connection is kept between them."""

from __future__ import annotations

import os
import socket
import time

from agentcg.client.wire import NotHttp, Reader, Reply, head_of
from agentcg.errors import Unavailable

CONNECT_TIMEOUT_S = 1.0
BUSY_PAUSE_S = 0.01  # between attempts while the listen queue is full
KEPT = 2  # idle connections: one, and one more where threads call at once
START_IT = "is agentcgd running? start it with: systemctl start agentcgd"
_CHUNK_BYTES = 64 << 10


class Connection:
    """Requests and answers; may be used from several threads at once.

    A kept connection that the daemon has closed in the meantime (it was restarted, or the
    connection was idle for long) is opened anew once. Connections are never shared with a forked
    child.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout_s: float,
        connect_s: float | None = None,
        kept: int = KEPT,
    ) -> None:  # fmt: skip
        self.path = path
        self.timeout_s = timeout_s
        self.connect_s = connect_s
        self._most = kept
        self._idle: list[socket.socket] = []
        self._owner = os.getpid()

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        timeout_s: float | None = None,
        *,
        alive_s: float | None = None,
    ) -> Reply:
        """Send one request and read its whole answer; raises `Unavailable`.

        `timeout_s` bounds all of it. With `alive_s` the daemon must show a sign of life within
        that time: for requests that may be answered late, and have a body.
        """
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        until = time.monotonic() + limit_s
        message = _Message(method, target, body, alive_s)
        try:
            kept = self._take()
            if kept is not None:
                try:
                    return self._exchange(kept, message, until)
                except _ClosedWhileIdle:
                    pass  # the daemon was restarted: once more
            fresh = connect(self.path, min(limit_s, self.connect_s or CONNECT_TIMEOUT_S))
            return self._exchange(fresh, message, until)
        except TimeoutError as error:
            raise Unavailable(
                f"{self.path}: no answer within {error.args[0] or limit_s:g} s",
                remedy="see: systemctl status agentcgd",
            ) from error
        except (OSError, NotHttp) as error:
            raise unreachable(self.path, error) from error

    def close(self) -> None:
        """Close what is kept; the next request opens another."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> socket.socket | None:
        if self._owner != os.getpid():
            self.close()
            self._owner = os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _exchange(self, link: socket.socket, message: _Message, until: float) -> Reply:
        try:
            reply = message.over(link, until)
        except BaseException:
            link.close()  # a late answer must not be taken for that of the next request
            raise
        if reply.keep and len(self._idle) < self._most:
            self._idle.append(link)
        else:
            link.close()
        return reply


class _ClosedWhileIdle(ConnectionError):
    """The connection ended before anything was answered."""


class _Message:
    """One request, and the wait for its answer."""

    def __init__(self, method: str, target: str, body: bytes | None, alive_s: float | None) -> None:
        self._alive_s = None if body is None else alive_s
        self._head = head_of(method, target, body, expect=self._alive_s is not None)
        self._body = body or b""

    def over(self, link: socket.socket, until: float) -> Reply:
        """Raises `TimeoutError` with the limit as its argument, `OSError`, `NotHttp`."""
        reader = Reader()
        try:
            if self._alive_s is None:
                _send(link, self._head + self._body, until)
            else:
                _send(link, self._head, until)
                early = self._sign_of_life(link, reader, until)
                if early is not None:
                    return early
                _send(link, self._body, until)
            while True:
                reply = reader.feed(_receive(link, until))
                if reply is not None:
                    return reply
        except ConnectionError as error:
            if reader.untouched:
                raise _ClosedWhileIdle(*error.args) from error
            raise

    def _sign_of_life(self, link: socket.socket, reader: Reader, until: float) -> Reply | None:
        alive_s = self._alive_s or 0.0
        soon = min(until, time.monotonic() + alive_s)
        try:
            while not reader.interim:
                reply = reader.feed(_receive(link, soon))
                if reply is not None:
                    return Reply(reply.status, reply.body, keep=False)  # the body was not sent
        except TimeoutError:
            raise TimeoutError(alive_s) from None
        return None


def connect(path: str | os.PathLike[str], within_s: float) -> socket.socket:
    """A connected socket; raises `Unavailable` with the path and what to do.

    A full listen queue (EAGAIN on a Unix socket, where TCP would wait) is tried again.
    """
    give_up_at = time.monotonic() + within_s
    while True:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(within_s)
        try:
            link.connect(os.fspath(path))
        except BlockingIOError as error:
            link.close()
            if time.monotonic() >= give_up_at:
                raise Unavailable(f"{path}: the daemon is too busy to answer") from error
            time.sleep(BUSY_PAUSE_S)
        except OSError as error:
            link.close()
            raise unreachable(path, error) from error
        else:
            return link


def unreachable(path: str | os.PathLike[str], error: Exception) -> Unavailable:
    """The daemon is not there: `error` in words, and what to do."""
    if isinstance(error, Unavailable):
        return error
    if isinstance(error, PermissionError):
        return Unavailable(
            f"{path}: no permission to connect", remedy="the socket's mode should be 0666"
        )
    if isinstance(error, FileNotFoundError):
        reason = "no such socket"
    elif isinstance(error, ConnectionRefusedError):
        reason = "nobody listens"
    elif isinstance(error, OSError):
        reason = (error.strerror or str(error)).lower()
    else:
        reason = f"what answers there does not speak HTTP ({type(error).__name__})"
    return Unavailable(f"{path}: {reason}", remedy=START_IT)


def _left(until: float) -> float:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise TimeoutError(0)
    return left_s


def _send(link: socket.socket, data: bytes, until: float) -> None:
    link.settimeout(_left(until))
    try:
        link.sendall(data)
    except TimeoutError:
        raise TimeoutError(0) from None


def _receive(link: socket.socket, until: float) -> bytes:
    link.settimeout(_left(until))
    try:
        return link.recv(_CHUNK_BYTES)
    except TimeoutError:
        raise TimeoutError(0) from None
