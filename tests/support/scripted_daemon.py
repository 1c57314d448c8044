# SPDX-License-Identifier: Apache-2.0
"""A stand-in for agentcgd: answers on a Unix socket as a test has scripted it.

    with ScriptedDaemon(tmp_path / "s") as daemon:
        daemon.on("GET", "/v1/sessions", SessionList(sessions=[a_session()]))
        ...
        assert daemon.requests[0].path == "/v1/sessions"

A route takes a message, a `Problem` (sent with its status), raw bytes, or a function of the
request that returns one of these. Paths are compared without their query.
"""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec

from agentcg.daemon.messages import Problem


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    query: str
    body: Any
    headers: dict[str, str] = field(repr=False)


Script = Callable[[Received], Any]


class ScriptedDaemon:
    """Serves in threads; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[Received] = []
        self.connections = 0
        self._routes: dict[tuple[str, str], Any] = {}
        self._server: socketserver.ThreadingUnixStreamServer | None = None

    def on(self, method: str, path: str, answer: Any) -> None:
        """Answer `method path` with `answer` from now on."""
        self._routes[method, path] = answer

    def sent(self, method: str, path: str) -> list[Any]:
        """Bodies of all requests for `method path`."""
        return [r.body for r in self.requests if (r.method, r.path) == (method, path)]

    def __enter__(self) -> ScriptedDaemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen."""
        self._server = _Server(str(self.path), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Hang up on everybody and remove the socket, as a stopped daemon does."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None
            self.path.unlink(missing_ok=True)

    def answer(self, request: Received) -> tuple[int, str, bytes]:
        """Status, content type and body for `request`."""
        self.requests.append(request)
        answer = self._routes.get((request.method, request.path))
        if callable(answer):
            answer = answer(request)
        if answer is None:
            answer = problem(404, "not-found", f"{request.method} {request.path}: no such thing")
        if isinstance(answer, Problem):
            return answer.status, "application/problem+json", msgspec.json.encode(answer)
        if isinstance(answer, bytes):
            return 200, "text/event-stream", answer
        return 200, "application/json", msgspec.json.encode(answer)


def problem(status: int, code: str, detail: str, **extra: Any) -> Problem:
    """A problem document as the daemon sends it."""
    return Problem(type=f"urn:agentcg:{code}", title=code, status=status, detail=detail, **extra)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, *args: Any) -> None:
        self.open: set[Any] = set()
        super().__init__(*args)

    def hang_up(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(2)


def _handler(daemon: ScriptedDaemon) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            daemon.connections += 1
            self.server.open.add(self.connection)  # type: ignore[attr-defined]

        def finish(self) -> None:
            self.server.open.discard(self.connection)  # type: ignore[attr-defined]
            with contextlib.suppress(OSError):
                super().finish()

        def handle(self) -> None:
            with contextlib.suppress(OSError):
                super().handle()

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            path, _, query = self.path.partition("?")
            request = Received(
                self.command, path, query, msgspec.json.decode(body) if body else None,
                dict(self.headers),
            )  # fmt: skip
            status, content_type, data = daemon.answer(request)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            if content_type == "text/event-stream":
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve  # noqa: N815

        def log_message(self, *_: Any) -> None:
            return

        def address_string(self) -> str:
            return "unix"

    return Handler
