# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document, made of the route table and the types of the messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

import agentcg
from agentcg.daemon.api.exchange import Nothing, Route
from agentcg.daemon.messages import Problem
from agentcg.naming import ID_PATTERN, NAME_PATTERN

_REF = "#/components/schemas/{name}"
_PATTERNS = {
    "session": NAME_PATTERN, "client": NAME_PATTERN, "call": ID_PATTERN, "intent": ID_PATTERN,
}  # fmt: skip
_ALWAYS = (400, 429)  # any request can be malformed, or one too many


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document as plain data."""
    kinds = {kind for route in routes for kind in (route.body, route.answer) if kind}
    kinds = (kinds - {Nothing}) | {Problem}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "agentcg intent API",
            "version": agentcg.__version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "HTTP/1.1 over the Unix socket /run/agentcg/agentcg.sock. The peer's "
            "credentials decide what it may do: a session's owner, a process inside the session, "
            "root, and members of group agentcg.",
        },
        "servers": [{"url": "http://localhost"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": _responses(route),
    }
    if route.body is not Nothing:
        operation["requestBody"] = {
            "content": {"application/json": {"schema": _reference(route.body)}}
        }
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": _PATTERNS[name]},
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    (schema,), components = msgspec.json.schema_components([route.query], ref_template=_REF)
    properties = components.get(route.query.__name__, schema).get("properties", {})
    return [
        {"name": name, "in": "query", "required": False, "schema": _without_null(schema)}
        for name, schema in properties.items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is left out where a message would say null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        return dict(kinds[0])
    if "enum" in schema:
        return {"enum": [value for value in schema["enum"] if value is not None]}
    return schema


def _responses(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in route.statuses:
        found[str(status)] = {"description": HTTPStatus(status).phrase}
        if status != HTTPStatus.NO_CONTENT:
            schema = {} if route.answer is None else {"schema": _reference(route.answer)}
            found[str(status)]["content"] = {route.media: schema}
    bodies = (413,) if route.body is not Nothing else ()
    for status in sorted({*_ALWAYS, *bodies, *route.errors}):
        found[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": _reference(Problem)}},
        }
    return found


def _reference(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REF.format(name=kind.__name__)}


def response(routes: tuple[Route, ...]) -> web.Response:
    """The document on the wire."""
    return web.Response(body=_encoded(routes), headers={"Content-Type": "application/json"})


@cache  # it takes as long as a hundred calls
def _encoded(routes: tuple[Route, ...]) -> bytes:
    return msgspec.json.encode(document(routes))
