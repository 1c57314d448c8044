# SPDX-License-Identifier: Apache-2.0
"""Server-sent events (the HTML standard's event stream), read and resumed.

`parse` is pure: lines in, messages out. `EventStream` holds a connection of its own and opens
it again where it broke, with `Last-Event-ID`, so that nothing the daemon still keeps is lost
and nothing arrives twice.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agentcg.client.connection import CONNECT_TIMEOUT_S, connect, unreachable
from agentcg.client.problems import exception_of
from agentcg.daemon.messages import Event, Turn
from agentcg.errors import Unavailable

SILENCE_S = 60.0  # the daemon sends a comment far more often; silence means that it hangs
RECONNECT_S = 30.0  # a restarted daemon is back within seconds
_PAUSES_S = (0.1, 0.2, 0.5, 1.0)
_LINE_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Message:
    """One event of the stream, undecoded."""

    id: str
    data: str


def parse(lines: Iterable[bytes]) -> Iterator[Message]:
    """Messages of a stream of lines; comments and unknown fields are skipped.

    As the standard says: an event ends at an empty line, one without data is dropped, and an
    unfinished event at the end of the stream is dropped, too.
    """
    last_id = ""
    data: list[str] = []
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield Message(last_id, "\n".join(data))
            data = []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            last_id = value


class EventStream:
    """Events as they happen, from now or from after `last_id` on, without an end.

    Iterating raises `Unavailable` when the daemon is not there at first, or is gone for
    `reconnect_s` seconds later, and any other error of the tree when it refuses.
    """

    def __init__(
        self,
        path: Path,
        target: str,
        *,
        last_id: int | None = None,
        reconnect_s: float = RECONNECT_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.path = path
        self.target = target
        self.last_id = last_id
        self.reconnect_s = reconnect_s
        self.silence_s = silence_s
        self._opened = False
        self._broken_at: float | None = None

    def __iter__(self) -> Iterator[Event]:
        attempt = 0
        while True:
            try:
                for event in self._stream():
                    attempt = 0
                    yield event
                broken = Unavailable(f"{self.path}: the daemon closed the event stream")
            except Unavailable as error:
                if not self._opened:
                    raise
                broken = error
            now = time.monotonic()
            if self._broken_at is None:
                self._broken_at = now
            if now - self._broken_at >= self.reconnect_s:
                raise broken
            time.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
            attempt += 1

    def _stream(self) -> Iterator[Event]:
        with _messages(self.path, self.target, self.silence_s, self.last_id) as messages:
            self._opened, self._broken_at = True, None
            for message in messages:
                event = msgspec.json.decode(message.data, type=Event)
                self.last_id = event.id
                yield event


def turns(path: Path, target: str) -> Iterator[Turn]:
    """Turns of a traced session, until it or the scheduler is gone."""
    with _messages(path, target, SILENCE_S) as messages:
        for message in messages:
            yield msgspec.json.decode(message.data, type=Turn)


@contextmanager
def _messages(
    path: Path, target: str, silence_s: float, last_id: int | None = None
) -> Iterator[Iterator[Message]]:
    """A stream on a connection of its own, from after `last_id` on."""
    connection = _UnixConnection(path, timeout_s=silence_s)
    headers = {"Accept": "text/event-stream"}
    if last_id is not None:
        headers["Last-Event-ID"] = str(last_id)
    try:
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            raise exception_of(response.status, response.read())
        yield parse(_lines(response))
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(path, error) from error
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """`http.client` over AF_UNIX, for its decoding of a body that never ends."""

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Connect; raises `Unavailable`."""
        self.sock = connect(self._path, min(self._timeout_s, CONNECT_TIMEOUT_S))
        self.sock.settimeout(self._timeout_s)


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Lines as they arrive; ends with the stream."""
    while line := response.readline(_LINE_MAX_BYTES):
        yield line
