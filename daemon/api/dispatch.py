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
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import msgspec
from aiohttp import web

from agentcg.daemon.api import bounds, decode, problems
from agentcg.daemon.api.exchange import Exchange, Nothing, Result, Route
from agentcg.daemon.api.problems import METHOD, TIMEOUT, TOO_LARGE, Refused
from agentcg.daemon.messages import BODY_MAX_BYTES, ID_PATTERN, NAME_PATTERN
from agentcg.daemon.service.peers import Peer
from agentcg.daemon.service.service import Service
from agentcg.errors import AgentcgError, InvalidInput, NotFound

log = logging.getLogger(__name__)

_JSON = {"Content-Type": "application/json"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PARAMETERS = {
    "session": (re.compile(NAME_PATTERN), "letters, digits, _ and -, 63 at most"),
    "call": (re.compile(ID_PATTERN), "4 to 32 lower-case letters and digits"),
}
_encode = msgspec.json.Encoder().encode


class Table:
    """Routes by the number of path segments, so that few are compared."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._by_length: dict[int, list[tuple[list[str], Route]]] = {}
        for route in routes:
            segments = route.path.split("/")[1:]
            self._by_length.setdefault(len(segments), []).append((segments, route))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and its path parameters; raises `NotFound`, `InvalidInput`, `Refused`."""
        segments = path.split("/")[1:]
        others = []
        for pattern, route in self._by_length.get(len(segments), ()):
            if not all(p[0] == "{" or p == s for p, s in zip(pattern, segments, strict=True)):
                continue
            if route.method == method:
                return route, _parameters(pattern, segments)
            others.append(route.method)
        if others:
            raise Refused(
                HTTPStatus.METHOD_NOT_ALLOWED, METHOD,
                f"{path} takes {', '.join(sorted(others))}", headers={"Allow": ", ".join(others)},
            )  # fmt: skip
        raise NotFound(
            f"there is nothing at {path[:200]!r}", remedy="GET /v1/openapi.json says what there is"
        )


def _parameters(pattern: list[str], segments: list[str]) -> dict[str, str]:
    found = {}
    for name, segment in zip(pattern, segments, strict=True):
        if name[0] != "{":
            continue
        key, value = name[1:-1], unquote(segment) if "%" in segment else segment
        expression, rule = _PARAMETERS[key]
        if expression.search(value) is None:
            raise InvalidInput(key, value, rule)
        found[key] = value
    return found


class Dispatcher:
    """Answers requests of known peers."""

    def __init__(self, service: Service, routes: Sequence[Route]) -> None:
        self._service = service
        self._table = Table(routes)

    async def answer(self, request: web.BaseRequest, peer: Peer) -> web.StreamResponse:
        """The answer to `request`, whatever happens."""
        try:
            return await self._answer(request, peer)
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

    async def _answer(self, request: web.BaseRequest, peer: Peer) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        route, parameters = self._table.find(request.method, path)
        raw = await _read(request) if request.body_exists else b""
        exchange = Exchange(
            service=self._service,
            peer=peer,
            request=request,
            path=parameters,
            query=_query(query, route),
            body=decode.body(raw, route.body),
        )
        return _response(await route.handler(exchange), route)


def _query(text: str, route: Route) -> msgspec.Struct | None:
    if not text and route.query is Nothing:
        return None
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError as error:
        raise InvalidInput("query", text, f"a query string ({error})") from error
    return decode.query(dict(pairs), route.query)


async def _read(request: web.BaseRequest) -> bytes:
    """The body, within its bounds of size and time."""
    if max(request.content_length or 0, request.content.total_bytes) > BODY_MAX_BYTES:
        raise _too_large()
    if request.content.is_eof():  # it came with the head, as small bodies do: nothing to wait for
        return request.content.read_nowait()
    if "Expect" in request.headers and request.transport is not None:
        request.transport.write(_CONTINUE)
    parts, size = [], 0
    try:
        async with asyncio.timeout(bounds.BODY_S):
            while part := await request.content.readany():
                parts.append(part)
                size += len(part)
                if size > BODY_MAX_BYTES:
                    raise _too_large()
    except TimeoutError:
        raise Refused(
            HTTPStatus.REQUEST_TIMEOUT, TIMEOUT,
            f"the body did not arrive within {bounds.BODY_S:.0f} s", close=True,
        ) from None  # fmt: skip
    return b"".join(parts)


def _too_large() -> Refused:
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE,
        f"a body has at most {BODY_MAX_BYTES} bytes", close=True,
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
