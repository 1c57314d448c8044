# SPDX-License-Identifier: Apache-2.0
"""The server: connections, their peers and their quotas."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web

from agentcg.daemon.api import bounds, problems
from agentcg.daemon.api.accept import accept
from agentcg.daemon.api.dispatch import Dispatcher
from agentcg.daemon.api.exchange import Route
from agentcg.daemon.api.peers import peer_of
from agentcg.daemon.api.quota import Quota
from agentcg.daemon.service.host.peers import Peer
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
        self.quotas: dict[int, Quota] = {}  # by uid

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
        peer, quota = connection.peer, connection.quota
        if quota.requests >= bounds.REQUESTS_PER_UID_MAX:
            error = LimitExceeded(
                f"uid {peer.uid} has {bounds.REQUESTS_PER_UID_MAX} requests being answered",
                remedy="wait for some of them",
            )
            return problems.response(problems.of_error(error))
        quota.requests += 1
        connection.busy = True
        try:
            await quota.turn()
            return await self._dispatcher.answer(request, peer, quota)
        finally:
            quota.requests -= 1
            connection.busy = False
            connection.used_at = asyncio.get_running_loop().time()

    async def _sweep(self) -> None:
        """Close connections on which nothing has been asked for long: aiohttp has no bound for
        an answer that is not taken, and not in all its releases one for half a header."""
        while True:
            await asyncio.sleep(bounds.IDLE_S / 2)
            too_old = asyncio.get_running_loop().time() - bounds.IDLE_S
            for connection in list(self.connections):
                if not connection.busy and connection.used_at < too_old:
                    connection.drop()


class Connection(web.RequestHandler):  # type: ignore[type-arg, unused-ignore]
    """One connection: aiohttp's protocol, which knows its peer and counts."""

    __slots__ = ("_server", "busy", "peer", "quota", "used_at")

    peer: Peer
    quota: Quota

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
        self.quota = server.quotas.setdefault(self.peer.uid, Quota())
        self.quota.connections += 1
        server.connections.add(self)
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream's always is
        transport.set_write_buffer_limits(high=bounds.UNSENT_MAX_BYTES)
        if (
            self.quota.connections > bounds.CONNECTIONS_PER_UID_MAX
            or len(server.connections) > bounds.CONNECTIONS_MAX
        ):
            log.warning("uid %d has too many connections: one refused", self.peer.uid)
            transport.write(_FULL)
            transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give its place back."""
        self._server.connections.discard(self)
        self.quota.connections -= 1
        if self.quota.connections == 0:
            self._server.quotas.pop(self.peer.uid, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came. aiohttp before 3.14.1 takes without end what is sent ahead of answers."""
        super().data_received(data)
        if len(self._messages) > bounds.REQUESTS_AHEAD_MAX:
            self.drop()

    def drop(self) -> None:
        """Close a connection that is not used, also where its peer does not take what was sent."""
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is not HTTP as it should be gets a problem document, too."""
        return problems.response(problems.of_http(status, message or "not HTTP"), close=True)
