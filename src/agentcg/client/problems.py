# SPDX-License-Identifier: Apache-2.0
"""Problem documents (RFC 9457) to the exceptions of `agentcg.errors`."""

from __future__ import annotations

import json

from agentcg.errors import (
    AgentcgError,
    Conflict,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Unavailable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from agentcg.client.record import NamedTuple

_TYPE_PREFIX = "urn:agentcg:"
_BY_CODE = {
    error.code: error for error in (NotFound, Conflict, Forbidden, LimitExceeded, Unavailable)
}
_BY_STATUS: dict[int, type[AgentcgError]] = {
    403: Forbidden, 404: NotFound, 409: Conflict, 410: NotFound, 429: LimitExceeded,
    503: Unavailable, 504: Unavailable,
}  # fmt: skip
_INVALID = frozenset({400, 411, 413, 415, 422})


class _Problem(NamedTuple):
    """RFC 9457, as far as it is of use here."""

    type: str = ""
    title: str = ""
    detail: str = ""
    field: str | None = None
    value: str | None = None
    rule: str | None = None
    remedy: str | None = None


def _read(body: bytes) -> _Problem | None:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, dict) or not isinstance(given.get("type"), str):
        return None
    return _Problem(**{k: v for k, v in given.items() if k in _Problem._fields and type(v) is str})


def exception_of(status: int, body: bytes) -> AgentcgError:
    """The exception that an answer with an error status stands for.

    A body that is no problem document (another program listens there, a proxy) still gives
    an exception by its status.
    """
    problem = _read(body) or _Problem(detail=f"HTTP status {status}")
    code = problem.type.removeprefix(_TYPE_PREFIX)
    remedy = problem.remedy or ""
    if code == InvalidInput.code or status in _INVALID:
        return _invalid(problem, remedy)
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, AgentcgError)
    return kind(problem.detail or problem.title, remedy=remedy)


def _invalid(problem: _Problem, remedy: str) -> InvalidInput:
    """Rebuild the daemon's `InvalidInput`: its value is already clipped and quoted there."""
    error = InvalidInput(
        problem.field or "request", problem.value, problem.rule or problem.detail, remedy=remedy
    )
    error.value = problem.value or ""
    error.message = problem.detail or problem.title
    return error
