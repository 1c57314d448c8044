# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as the daemon speaks it, without any I/O: requests to bytes, bytes to answers.

The standard library's `http.client` does more, and takes 20 ms to import, which is most of what a
tool call may cost.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from agentcg.client.record import NamedTuple


HEAD_MAX_BYTES = 16 << 10
BODY_MAX_BYTES = 64 << 20
"""An answer that is larger is none of the daemon's."""


class NotHttp(Exception):
    """What came is no answer of the daemon."""


class Reply(NamedTuple):
    """What the daemon answered: HTTP status and the undecoded body."""

    status: int
    body: bytes
    keep: bool = True
    """Whether the connection can be used again."""


def head_of(method: str, target: str, body: bytes | None, *, expect: bool = False) -> bytes:
    """The head of a request; `target` is made of checked names and encoded parameters.

    With `expect` the daemon says `100 Continue` before it gets the body: a sign of life.
    """
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    elif method not in {"GET", "HEAD"}:
        lines.append("Content-Length: 0")
    if expect:
        lines.append("Expect: 100-continue")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


class Reader:
    """Puts an answer together from what arrives.

    Interim answers (`100 Continue`) are counted in `interim` and passed over.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self.interim = 0
        self._status = 0
        self._keep = True
        self._length: int | None = None
        self._in_body = False

    @property
    def untouched(self) -> bool:
        """Nothing has arrived yet."""
        return not (self._data or self.interim or self._in_body)

    def feed(self, data: bytes) -> Reply | None:
        """Take what arrived (b"": the peer has closed); the answer, when it is whole.

        Raises `NotHttp`, and `ConnectionError` where the answer broke off.
        """
        self._data += data
        while not self._in_body:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                if not self._data.startswith(b"HTTP/1."[: len(self._data)]):
                    raise NotHttp("it does not speak HTTP")
                if len(self._data) > HEAD_MAX_BYTES:
                    raise NotHttp("the head of its answer does not end")
                if not data:
                    raise ConnectionResetError("the daemon closed the connection")
                return None
            head = bytes(self._data[:end])
            del self._data[: end + 4]
            self._head(head)
        return self._body(closed=not data)

    def _head(self, head: bytes) -> None:
        first, *rest = head.decode("latin-1").split("\r\n")
        version, _, after = first.partition(" ")
        if not version.startswith("HTTP/1.") or not after[:3].isdigit():
            raise NotHttp("it does not speak HTTP")
        status = int(after[:3])
        if status < 200:
            self.interim += 1
            return
        headers = {
            name.strip().lower(): value.strip().lower()
            for name, _, value in (line.partition(":") for line in rest)
        }
        if "chunked" in headers.get("transfer-encoding", ""):
            raise NotHttp("its answer is in chunks")
        self._status, self._in_body = status, True
        self._keep = headers.get("connection") != "close" and version != "HTTP/1.0"
        length = headers.get("content-length", "0" if status in {204, 304} else "")
        if length.isdigit():
            self._length = int(length)
        if (self._length or 0) > BODY_MAX_BYTES:
            raise NotHttp("its answer is too long")

    def _body(self, *, closed: bool) -> Reply | None:
        if len(self._data) > BODY_MAX_BYTES:
            raise NotHttp("its answer is too long")
        if self._length is None:  # until it closes, as HTTP/1.0 does
            return Reply(self._status, bytes(self._data), keep=False) if closed else None
        if len(self._data) >= self._length:
            rest = len(self._data) > self._length
            return Reply(self._status, bytes(self._data[: self._length]), self._keep and not rest)
        if closed:
            raise ConnectionResetError("the daemon's answer broke off")
        return None
