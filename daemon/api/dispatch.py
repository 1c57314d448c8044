# SPDX-License-Identifier: Apache-2.0
"""From a request to its route, and from whatever comes of it to an answer.

aiohttp's own application, router and middlewares are left out: a table of some twenty routes
needs none of them, and begin and end are on every tool call's path.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import msgspec
from aiohttp import web

from agentcg.daemon.api import bounds, decode, problems
from agentcg.daemon.api.exchange import Exchange, Nothing, Result, Route
from agentcg.daemon.api.problems import METHOD, TIMEOUT, TOO_LARGE, Refused
from agentcg.daemon.api.quota import Quota
from agentcg.daemon.messages import BODY_MAX_BYTES
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.service import Service
from agentcg.errors import AgentcgError, InvalidInput, LimitExceeded, NotFound
from agentcg.naming import ID_PATTERN, NAME_PATTERN

log = logging.getLogger(__name__)

_JSON = {"Content-Type": "application/json"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PARAMETERS = {
    "session": (re.compile(NAME_PATTERN), "letters, digits, _ and -, 63 at most"),
    "client": (re.compile(NAME_PATTERN), "letters, digits, _ and -, 63 at most"),
    "call": (re.compile(ID_PATTERN), "4 to 32 lower-case letters and digits"),
    "intent": (re.compile(ID_PATTERN), "4 to 32 lower-case letters and digits"),
}
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Node:
    """What a path leads to so far."""

    routes: dict[str, Route] = field(default_factory=dict)  # by method
    below: dict[str, _Node] = field(default_factory=dict)  # by the next segment
    parameter: str = ""  # what a segment that is none of these stands for, and then
    varied: _Node | None = None


class Table:
    """Routes as a tree of path segments."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            for segment in route.path.split("/")[1:]:
                if segment[0] == "{":
                    node.parameter, node.varied = segment[1:-1], node.varied or _Node()
                    node = node.varied
                else:
                    node = node.below.setdefault(segment, _Node())
            node.routes[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and its path parameters; raises `NotFound`, `InvalidInput`, `Refused`."""
        node, given = self._root, {}
        for segment in path.split("/")[1:]:
            below = node.below.get(segment) or node.varied
            if below is None:
                raise _nothing(path)
            if below is node.varied:
                given[node.parameter] = segment
            node = below
        if not node.routes:
            raise _nothing(path)
        route = node.routes.get(method)
        if route is None:
            raise Refused(
                HTTPStatus.METHOD_NOT_ALLOWED, METHOD,
                f"{path} takes {', '.join(sorted(node.routes))}",
                headers={"Allow": ", ".join(node.routes)},
            )  # fmt: skip
        return route, {key: _parameter(key, text) for key, text in given.items()}


def _nothing(path: str) -> NotFound:
    return NotFound(
        f"there is nothing at {path[:200]!r}", remedy="GET /v1/openapi.json says what there is"
    )


def _parameter(key: str, segment: str) -> str:
    value = unquote(segment) if "%" in segment else segment
    expression, rule = _PARAMETERS[key]
    if expression.search(value) is None:
        raise InvalidInput(key, value, rule)
    return value


class Dispatcher:
    """Answers requests of known peers."""

    def __init__(self, service: Service, routes: Sequence[Route]) -> None:
        self._service = service
        self._table = Table(routes)

    async def answer(
        self, request: web.BaseRequest, peer: Peer, quota: Quota
    ) -> web.StreamResponse:
        """The answer to `request`, whatever happens."""
        try:
            return await self._answer(request, peer, quota)
        except Refused as refused:
            return problems.response(refused.problem, refused.headers, close=refused.close)
        except AgentcgError as error:
            problem = problems.of_error(error)
            if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                log.error("%s %s: %s", request.method, request.raw_path[:200], error)
            return problems.response(problem)
        except ConnectionError:  # the peer is gone; nobody is there to be told
            raise
        except Exception:
            log.exception("%s %s", request.method, request.raw_path[:200])
            return problems.response(problems.of_bug())

    async def _answer(
        self, request: web.BaseRequest, peer: Peer, quota: Quota
    ) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        route, parameters = self._table.find(request.method, path)
        exchange = Exchange(
            service=self._service,
            peer=peer,
            request=request,
            path=parameters,
            query=_query(query, route),
            # No name for what arrived: it may be large, and the handler may wait for long.
            body=decode.body(await _body(request, quota, route.body_max_bytes), route.body),
        )
        if not route.large:
            return _response(await route.handler(exchange), route)
        async with quota.large_answers:
            return await _sent(_response(await route.handler(exchange), route), request)


async def _body(request: web.BaseRequest, quota: Quota, most: int) -> bytes:
    """The body; how many large ones of a user may arrive at once is bounded."""
    if not request.body_exists:
        return b""
    length = request.content_length
    if most <= BODY_MAX_BYTES or (length is not None and length <= BODY_MAX_BYTES):
        return await _read(request, most)
    if quota.large_bodies >= bounds.LARGE_BODIES_PER_UID_MAX:
        raise LimitExceeded(
            f"the user sends {bounds.LARGE_BODIES_PER_UID_MAX} large bodies at once",
            remedy="wait for some of them",
        )
    quota.large_bodies += 1
    try:
        return await _read(request, most)
    finally:
        quota.large_bodies -= 1


def _query(text: str, route: Route) -> msgspec.Struct | None:
    if not text and route.query is Nothing:
        return None
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError as error:
        raise InvalidInput("query", text, f"a query string ({error})") from error
    return decode.query(dict(pairs), route.query)


async def _read(request: web.BaseRequest, most: int) -> bytes:
    """The body, within its bounds of size and time."""
    if max(request.content_length or 0, request.content.total_bytes) > most:
        raise _too_large(most)
    if "Expect" in request.headers and request.transport is not None:
        request.transport.write(_CONTINUE)  # also a sign of life, where the answer has to wait
    if request.content.is_eof():  # it came with the head, as small bodies do: nothing to wait for
        return request.content.read_nowait()
    parts, size = [], 0
    try:
        async with asyncio.timeout(bounds.BODY_S):
            while part := await request.content.readany():
                parts.append(part)
                size += len(part)
                if size > most:
                    raise _too_large(most)
    except TimeoutError:
        raise Refused(
            HTTPStatus.REQUEST_TIMEOUT, TIMEOUT,
            f"the body did not arrive within {bounds.BODY_S:.0f} s", close=True,
        ) from None  # fmt: skip
    return b"".join(parts)


def _too_large(most: int) -> Refused:
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE,
        f"a body has at most {most} bytes here", close=True,
    )  # fmt: skip


def _response(result: Result, route: Route) -> web.StreamResponse:
    if isinstance(result, web.StreamResponse):
        return result
    status = route.statuses[0]
    if isinstance(result, tuple):
        status, result = result
    if result is None:
        return web.Response(status=HTTPStatus.NO_CONTENT)
    return web.Response(body=_encode(result), status=status, headers=_JSON)


async def _sent(response: web.StreamResponse, request: web.BaseRequest) -> web.StreamResponse:
    """`response` once its peer has taken it; who takes nothing is not waited for."""
    try:
        async with asyncio.timeout(bounds.WRITE_S):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    return response
