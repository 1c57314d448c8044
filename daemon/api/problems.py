# SPDX-License-Identifier: Apache-2.0
"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from aiohttp import web

from agentcg.daemon.messages import Problem
from agentcg.errors import (
    AgentcgError,
    CgroupGone,
    Conflict,
    Forbidden,
    HistoryError,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Unavailable,
    clip,
)

URN = "urn:agentcg:"
HEADERS = {"Content-Type": "application/problem+json"}
MALFORMED, METHOD, TOO_LARGE, TIMEOUT = "malformed", "method", "too-large", "timeout"

_STATUS: dict[type[AgentcgError], HTTPStatus] = {
    InvalidInput: HTTPStatus.BAD_REQUEST,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    CgroupGone: HTTPStatus.CONFLICT,
    LimitExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    HistoryError: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Refused(Exception):
    """A request that HTTP itself settles; carries its problem document."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.problem = _problem(status, code, detail, "")
        self.headers = headers
        self.close = close


def of_error(error: AgentcgError) -> Problem:
    """The problem document of an error of ours."""
    status = next(
        (_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    problem = _problem(status, error.code, error.message, error.remedy)
    if isinstance(error, InvalidInput):
        return msgspec.structs.replace(
            problem, field=error.field, value=error.value, rule=error.rule
        )
    return problem


def of_bug() -> Problem:
    """What a caller is told of an exception that nobody expected."""
    return _problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        AgentcgError.code,
        "the daemon failed on this request",
        "its log has the traceback",
    )


def of_http(status: int, detail: str) -> Problem:
    """What is not even HTTP as it should be."""
    return _problem(HTTPStatus(status), MALFORMED, clip(detail, 200), "")


def _problem(status: HTTPStatus, code: str, detail: str, remedy: str) -> Problem:
    return Problem(
        type=URN + code,
        title=status.phrase,
        status=int(status),
        detail=detail,
        remedy=remedy or None,
    )


def response(
    problem: Problem, headers: dict[str, str] | None = None, *, close: bool = False
) -> web.Response:
    """`problem` on the wire. With `close` the connection ends, since its rest is not read."""
    answer = web.Response(
        body=msgspec.json.encode(problem),
        status=problem.status,
        headers={**HEADERS, **headers} if headers else HEADERS,
    )
    if close:
        answer.force_close()
    return answer
