# SPDX-License-Identifier: Apache-2.0
"""Problem documents become the exceptions that the daemon meant."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.client.problems import exception_of
from agentcg.errors import (
    AgentcgError,
    Conflict,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Unavailable,
)
from support.scripted_daemon import problem


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("not-found", 404, NotFound),
        ("conflict", 409, Conflict),
        ("forbidden", 403, Forbidden),
        ("limit-exceeded", 429, LimitExceeded),
        ("unavailable", 503, Unavailable),
        ("cgroup", 500, AgentcgError),
    ],
)
def test_code_decides(code: str, status: int, kind: type[AgentcgError]) -> None:
    """The code names the exception; detail and remedy come along."""
    body = msgspec.json.encode(problem(status, code, "it is so", remedy="do this"))
    error = exception_of(status, body)
    assert type(error) is kind
    assert str(error) == "it is so; do this"


def test_invalid_input_keeps_field_value_and_rule() -> None:
    """What was wrong is told once and not quoted twice."""
    detail = "memory_bytes: '1.5X' is not valid: an integer"
    sent = problem(
        422, "invalid-input", detail, field="memory_bytes", value="'1.5X'", rule="an integer"
    )
    error = exception_of(422, msgspec.json.encode(sent))
    assert isinstance(error, InvalidInput)
    assert (error.field, error.value, error.rule) == ("memory_bytes", "'1.5X'", "an integer")
    assert str(error) == detail


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NotFound),
        (403, Forbidden),
        (429, LimitExceeded),
        (503, Unavailable),
        (400, InvalidInput),
    ],
)
def test_unknown_code_is_judged_by_its_status(status: int, kind: type[AgentcgError]) -> None:
    """A newer daemon's code is still the right kind of failure."""
    body = msgspec.json.encode(problem(status, "brand-new", "detail"))
    assert type(exception_of(status, body)) is kind


@given(status=st.integers(400, 599), body=st.binary(max_size=200))
def test_any_body_gives_an_exception(status: int, body: bytes) -> None:
    """Whatever answers on the socket, the caller gets an AgentcgError."""
    assert isinstance(exception_of(status, body), AgentcgError)
