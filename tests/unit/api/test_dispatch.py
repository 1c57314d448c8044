# SPDX-License-Identifier: Apache-2.0
"""The route table, problem documents and the OpenAPI document."""

from __future__ import annotations

import inspect

import pytest

from agentcg.daemon.api import openapi, problems
from agentcg.daemon.api.dispatch import Table
from agentcg.daemon.api.problems import Refused
from agentcg.daemon.api.routes import ROUTES
from agentcg.errors import (
    AgentcgError,
    CgroupError,
    CgroupGone,
    Conflict,
    ControllerMissing,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotFound,
)

TABLE = Table(ROUTES)


def test_path_parameters_are_found() -> None:
    """A name or id in the path arrives decoded."""
    route, found = TABLE.find("GET", "/v1/sessions/my%2Dname")
    assert (route.operation, found) == ("getSession", {"session": "my-name"})


@pytest.mark.parametrize("path", ["", "/", "v1/health", "/v1/health/", "/v1//health", "/v1/call"])
def test_other_paths_are_not_found(path: str) -> None:
    """Paths are compared as they are, without normalisation."""
    with pytest.raises(NotFound):
        TABLE.find("GET", path)


def test_other_methods_are_named() -> None:
    """405 says which methods there are."""
    with pytest.raises(Refused) as caught:
        TABLE.find("TRACE", "/v1/host")
    assert caught.value.headers == {"Allow": "GET, PATCH"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("f", 1, "r"), 400),
        (Forbidden("x"), 403),
        (NotFound("x"), 404),
        (Conflict("x"), 409),
        (LimitExceeded("x"), 429),
        (CgroupGone("/p", "", None, 2), 409),
        (CgroupError("/p", "k", 1, 16), 500),
        (ControllerMissing("/p", "k", 1, 2), 500),
        (AgentcgError("x"), 500),
    ],
)
def test_every_error_has_its_status(error: AgentcgError, status: int) -> None:
    """Caller's mistakes are 4xx, the kernel's refusals 5xx; the code is in the type."""
    problem = problems.of_error(error)
    assert (problem.status, problem.type) == (status, f"urn:agentcg:{error.code}")


def test_invalid_input_says_field_value_and_rule() -> None:
    """Machines can point at the field, people can read the sentence."""
    problem = problems.of_error(InvalidInput("size", "1.5X", "whole bytes", remedy="write 1536M"))
    assert (problem.field, problem.value, problem.rule) == ("size", "'1.5X'", "whole bytes")
    assert problem.remedy == "write 1536M"


def test_bugs_are_not_told_to_callers() -> None:
    """An unexpected exception's text may hold anything: only the log has it."""
    assert problems.of_bug().detail == "the daemon failed on this request"


def test_document_has_every_route_and_type() -> None:
    """One table makes both: nothing is served that is not described."""
    document = openapi.document(ROUTES)
    described = {
        (method.upper(), path) for path, ops in document["paths"].items() for method in ops
    }
    assert described == {(route.method, route.path) for route in ROUTES}
    assert {"Call", "Problem", "Session", "BeginCall"} <= document["components"]["schemas"].keys()


def test_handlers_are_coroutines() -> None:
    """The dispatcher awaits every one of them."""
    assert all(inspect.iscoroutinefunction(route.handler) for route in ROUTES)
