# SPDX-License-Identifier: Apache-2.0
"""One kept HTTP/1.1 connection over a Unix socket, with a bound on every wait."""

from __future__ import annotations

import http.client
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from agentcg.errors import Unavailable

CONNECT_TIMEOUT_S = 1.0
BUSY_PAUSE_S = 0.01  # between attempts while the listen queue is full
START_IT = "is agentcgd running? start it with: systemctl start agentcgd"


@dataclass(frozen=True)
class Reply:
    """What the daemon answered: HTTP status and the undecoded body."""

    status: int
    body: bytes


class UnixConnection(http.client.HTTPConnection):
    """`http.client` over AF_UNIX.

    Connecting and each read are bounded by `timeout_s`. A full listen queue (EAGAIN on a Unix
    socket, where TCP would wait) is tried again within that time.
    """

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.path = path
        self.timeout_s = timeout_s

    def connect(self) -> None:
        """Connect; raises `Unavailable` with the path and what to do."""
        connect_s = min(self.timeout_s, CONNECT_TIMEOUT_S)
        give_up_at = time.monotonic() + connect_s
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(connect_s)
            try:
                sock.connect(str(self.path))
                break
            except BlockingIOError as error:
                sock.close()
                if time.monotonic() >= give_up_at:
                    raise Unavailable(f"{self.path}: the daemon is too busy to answer") from error
                time.sleep(BUSY_PAUSE_S)
            except OSError as error:
                sock.close()
                raise unreachable(self.path, error) from error
        self.sock = sock
        self.limit(self.timeout_s)

    def limit(self, timeout_s: float) -> None:
        """Bound every later wait for the daemon by `timeout_s`."""
        self.timeout_s = timeout_s
        if self.sock is not None:
            self.sock.settimeout(timeout_s)


class Connection:
    """Requests and answers, one at a time, on a connection that is kept between them.

    Not for use from several threads. A kept connection that the daemon has closed in the
    meantime (it was restarted, or the connection was idle for long) is opened anew once.
    """

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self._kept: UnixConnection | None = None

    def request(
        self, method: str, target: str, body: bytes | None = None, timeout_s: float | None = None
    ) -> Reply:
        """Send one request and read its whole answer; raises `Unavailable`."""
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            if self._kept is not None:
                self._kept.limit(limit_s)
                try:
                    return self._exchange(self._kept, method, target, body)
                except (ConnectionError, http.client.BadStatusLine):
                    pass  # closed while idle, or the daemon was restarted: once more
            self._kept = UnixConnection(self.path, timeout_s=limit_s)
            return self._exchange(self._kept, method, target, body)
        except TimeoutError as error:
            raise Unavailable(
                f"{self.path}: no answer within {limit_s:g} s",
                remedy="see: systemctl status agentcgd",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.path, error) from error

    def close(self) -> None:
        """Close the kept connection, if there is one; the next request opens another."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _exchange(
        self, connection: UnixConnection, method: str, target: str, body: bytes | None
    ) -> Reply:
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, target, body=body, headers=headers)
            response = connection.getresponse()
            reply = Reply(response.status, response.read())
        except BaseException:
            self.close()  # a late answer must not be taken for that of the next request
            raise
        if response.will_close:
            self.close()
        return reply


def unreachable(path: Path, error: Exception) -> Unavailable:
    """The daemon is not there: `error` in words, and what to do."""
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
