# SPDX-License-Identifier: Apache-2.0
"""One request with everything checked that can be checked without the service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from agentcg.daemon.api.peers import has_left
from agentcg.daemon.messages import BODY_MAX_BYTES, Answer
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.service import Service


@dataclass(slots=True)
class Exchange:
    """What a handler gets. `body` and `query` are of the types that its route names."""

    service: Service
    peer: Peer
    request: web.BaseRequest
    path: dict[str, str]
    query: Any
    body: Any

    def is_abandoned(self) -> bool:
        """Whether the peer has gone away: it had sent its request before it was served, say."""
        transport = self.request.transport
        return transport is None or has_left(transport.get_extra_info("socket"))


Result = Answer | tuple[int, Answer] | web.StreamResponse | None
"""An answer with the route's usual status, or with another one, or nothing (204)."""

Handler = Callable[[Exchange], Awaitable[Result]]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No body, or no query parameters."""


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API. `errors`: statuses beyond those that any request can get."""

    method: str
    path: str
    operation: str
    summary: str
    handler: Handler
    answer: type[msgspec.Struct] | None
    body: type[msgspec.Struct] = Nothing
    query: type[msgspec.Struct] = Nothing
    statuses: tuple[int, ...] = (200,)
    errors: tuple[int, ...] = ()
    media: str = "application/json"
    body_max_bytes: int = BODY_MAX_BYTES
    large: bool = False  # the answer may be: how many are made and sent at once is bounded
