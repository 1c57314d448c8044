# SPDX-License-Identifier: Apache-2.0
"""The running server against its own OpenAPI document: what it says is what happens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon_support import Api, Daemon, Reply, own_daemon
from schema_support import Schemas

EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# Never a living process: as root any could be moved. And no waiting for room.
FIXED: dict[str, Any] = {"pid": [None], "pids": [[]], "wait_s": [0, 0.01]}
# Nor may a shell that asks for a place, which here is pytest, get one.
FIXED |= {"session": ["unknown"], "call": ["abcdefgh"]}
OPERATIONS = [
    ("GET", "/v1/health"), ("GET", "/v1/host"), ("PATCH", "/v1/host"),
    ("POST", "/v1/sessions"), ("GET", "/v1/sessions"),
    ("GET", "/v1/sessions/{session}"), ("DELETE", "/v1/sessions/{session}"),
    ("POST", "/v1/sessions/{session}/intents"), ("GET", "/v1/sessions/{session}/intents"),
    ("PATCH", "/v1/sessions/{session}/intents/{intent}"),
    ("DELETE", "/v1/sessions/{session}/intents/{intent}"),
    ("GET", "/v1/sessions/{session}/trace"),  # there is no scheduler: refused
    ("GET", "/v1/sessions/{session}/calibration"), ("GET", "/v1/forecast"),
    ("POST", "/v1/sessions/{session}/calls"), ("GET", "/v1/sessions/{session}/calls"),
    ("GET", "/v1/calls"), ("GET", "/v1/calls/{call}"), ("PATCH", "/v1/calls/{call}"),
    ("GET", "/v1/calls/{call}/actions"), ("GET", "/v1/sessions/{session}/actions"),
    ("GET", "/v1/history"), ("GET", "/v1/calls/{call}/curve"),
    ("POST", "/v1/calls/{call}/freeze"), ("POST", "/v1/calls/{call}/thaw"),
    ("POST", "/v1/calls/{call}/kill"), ("GET", "/v1/policy"),
    ("POST", "/v1/hooks/{client}"), ("POST", "/v1/shells"),
    ("POST", "/v1/calls/{call}/end"), ("GET", "/v1/openapi.json"), ("GET", "/metrics"),
]  # fmt: skip
BY_HAND = ("/freeze", "/thaw", "/kill")  # without a body
ANY_BODY = "/v1/hooks/{client}"  # whatever a client gives its hook
WITH_BODY = [
    one
    for one in OPERATIONS
    if one[0] in ("POST", "PATCH") and not one[1].endswith(BY_HAND) and one[1] != ANY_BODY
]


class World(NamedTuple):
    """The daemon and its document, once parsed."""

    api: Api
    document: Any
    schemas: Schemas


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


@pytest.fixture(scope="module")
def world(daemon: Daemon) -> World:
    document = daemon.get("/v1/openapi.json")
    return World(daemon, document, Schemas(document["components"]["schemas"], FIXED))


def targets(world: World, path: str) -> st.SearchStrategy[str]:
    """Paths with something that is there, something that was, and something that never was."""
    world.api.ask("DELETE", "/v1/sessions/known")  # an earlier operation may have filled it
    known = world.api.open("known")["name"]
    calls = [world.api.begin(known)["id"] for _ in range(2)]
    world.api.end(calls[0])
    declared = {"kind": "call", "memory_bytes": 1 << 20}
    intent = world.api.good("POST", f"/v1/sessions/{known}/intents", declared)["id"]
    values = {
        "session": st.sampled_from([known, "unknown"]),
        "call": st.sampled_from([*calls, "abcdefgh"]),
        "client": st.sampled_from(["claude-code", "unknown"]),
        "intent": st.sampled_from([intent, "abcdefgh"]),
    }
    names = re.findall(r"{(\w+)}", path)
    return st.fixed_dictionaries({name: values[name] for name in names}).map(
        lambda chosen: path.format(**{name: quote(value) for name, value in chosen.items()})
    )


def queries(world: World, operation: Any) -> st.SearchStrategy[str]:
    given_: dict[str, st.SearchStrategy[Any]] = {
        parameter["name"]: world.schemas.values(parameter["schema"])
        for parameter in operation["parameters"]
        if parameter["in"] == "query"
    }
    return st.fixed_dictionaries({}, optional=given_).map(
        lambda chosen: urlencode(
            {k: str(v).lower() if isinstance(v, bool) else v for k, v in chosen.items()}
        )
    )


def check(world: World, operation: Any, reply: Reply) -> None:
    """The status is one that the document names, and the body is what it says of it."""
    assert reply.status < 500, reply
    assert str(reply.status) in operation["responses"], reply
    content = operation["responses"][str(reply.status)].get("content", {})
    if not content:
        assert reply.body == b""
        return
    media = reply.headers["Content-Type"].partition(";")[0]
    assert media in content
    if "schema" in content[media]:
        schema = {**content[media]["schema"], "components": world.document["components"]}
        jsonschema.validate(reply.body, schema, cls=jsonschema.Draft202012Validator)


def test_every_operation_of_the_document_is_tried(world: World) -> None:
    """An operation that is added to the API must be added here; events have their own tests."""
    said = {
        (method.upper(), path)
        for path, methods in world.document["paths"].items()
        for method in methods
    }
    assert said == {*OPERATIONS, ("GET", "/v1/events")}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_valid_requests_get_what_the_document_says(world: World, method: str, path: str) -> None:
    """Whatever valid is asked, the answer's status and form are documented, and never a 5xx."""
    operation = world.document["paths"][path][method.lower()]
    body = st.none()
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = world.schemas.values(schema)

    @EXAMPLES
    @given(target=targets(world, path), query=queries(world, operation), sent=body)
    def ask(target: str, query: str, sent: Any) -> None:
        where = f"{target}?{query}" if query else target
        check(world, operation, world.api.ask(method, where, sent))

    ask()


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_invalid_bodies_get_a_problem_document(world: World, method: str, path: str) -> None:
    """One wrong thing in a body: 400, in the documented form, with the field."""
    operation = world.document["paths"][path][method.lower()]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]

    @EXAMPLES
    @given(target=targets(world, path), sent=world.schemas.wrong(schema))
    def ask(target: str, sent: Any) -> None:
        reply = world.api.ask(method, target, sent)
        check(world, operation, reply)
        assert reply.status == 400
        assert reply.body["field"] is not None

    ask()


def test_document_is_openapi_3_1(world: World) -> None:
    """Every reference resolves, every operation has an id of its own and a summary."""
    text = str(world.document)
    names = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert names <= world.document["components"]["schemas"].keys()
    operations = [op for methods in world.document["paths"].values() for op in methods.values()]
    assert len({op["operationId"] for op in operations}) == len(operations)
    assert all(op["summary"] for op in operations)
    for schema in world.document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
