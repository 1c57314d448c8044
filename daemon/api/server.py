# SPDX-License-Identifier: Apache-2.0
"""The server: connections, their peers and their quotas."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web

from agentcg.daemon.api import bounds, problems
from agentcg.daemon.api.accept import accept
from agentcg.daemon.api.dispatch import Dispatcher
from agentcg.daemon.api.exchange import Route
from agentcg.daemon.api.peers import peer_of
from agentcg.daemon.service.peers import Peer
from agentcg.daemon.service.service import Service
from agentcg.errors import LimitExceeded

log = logging.getLogger(__name__)

_NO_LOG: Any = None  # aiohttp's way to say "no access log", which its types do not know

_FULL = b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Server:
    """Serves `routes` of `service` on a listening Unix socket."""

    def __init__(self, service: Service, routes: Sequence[Route]) -> None:
        self._dispatcher = Dispatcher(service, routes)
        self._http = web.Server(self._handle, handler_cancellation=True)
        self._listening: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.connections: set[Connection] = set()
        self.connections_by_uid: Counter[int] = Counter()
        self._requests_by_uid: Counter[int] = Counter()

    async def start(self, listening: socket.socket) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(
                accept(listening, lambda: Connection(self, self._http, loop)), name="accept"
            ),
            loop.create_task(self._sweep(), name="sweep"),
        ]
        self._listening = listening

    async def stop(self) -> None:
        """Close all connections; requests being answered get a moment."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()
        await self._http.shutdown(timeout=1.0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)  # noqa: S101 - made in start(), nowhere else
        peer = connection.peer
        if self._requests_by_uid[peer.uid] >= bounds.REQUESTS_PER_UID_MAX:
            error = LimitExceeded(
                f"uid {peer.uid} has {bounds.REQUESTS_PER_UID_MAX} requests being answered",
                remedy="wait for some of them",
            )
            return problems.response(problems.of_error(error))
        self._requests_by_uid[peer.uid] += 1
        connection.busy = True
        try:
            return await self._dispatcher.answer(request, peer)
        finally:
            self._requests_by_uid[peer.uid] -= 1
            connection.busy = False
            connection.used_at = asyncio.get_running_loop().time()

    async def _sweep(self) -> None:
        """Close connections on which nothing has been asked for long: aiohttp has no bound for
        a request whose header never ends."""
        while True:
            await asyncio.sleep(bounds.IDLE_S / 2)
            too_old = asyncio.get_running_loop().time() - bounds.IDLE_S
            for connection in list(self.connections):
                if not connection.busy and connection.used_at < too_old:
                    connection.drop()


class Connection(web.RequestHandler):  # type: ignore[type-arg, unused-ignore]
    """One connection: aiohttp's protocol, which knows its peer and counts."""

    __slots__ = ("_server", "busy", "peer", "used_at")

    peer: Peer

    def __init__(self, server: Server, http: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            http,
            loop=loop,
            access_log=_NO_LOG,
            keepalive_timeout=bounds.IDLE_S,
            lingering_time=1.0,
            auto_decompress=False,
            max_line_size=bounds.HEADER_LINE_MAX_BYTES,
            max_field_size=bounds.HEADER_LINE_MAX_BYTES,
        )
        self._server = server
        self.busy = False
        self.used_at = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel who it is; refuse one connection too many."""
        super().connection_made(transport)
        server = self._server
        self.peer = peer_of(transport.get_extra_info("socket"))
        count = server.connections_by_uid[self.peer.uid]
        server.connections.add(self)
        server.connections_by_uid[self.peer.uid] += 1
        if (
            count >= bounds.CONNECTIONS_PER_UID_MAX
            or len(server.connections) > bounds.CONNECTIONS_MAX
        ):
            log.warning("uid %d has too many connections: one refused", self.peer.uid)
            assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream's always is
            transport.write(_FULL)
            transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give its place back."""
        self._server.connections.discard(self)
        self._server.connections_by_uid[self.peer.uid] -= 1
        super().connection_lost(exc)

    def drop(self) -> None:
        """Close a connection that is not used."""
        with contextlib.suppress(Exception):
            self.force_close()
            if self.transport is not None:
                self.transport.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is not HTTP as it should be gets a problem document, too."""
        return problems.response(problems.of_http(status, message or "not HTTP"), close=True)
