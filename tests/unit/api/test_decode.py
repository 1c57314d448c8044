# SPDX-License-Identifier: Apache-2.0
"""Requests from bytes: every mistake by field, value and rule."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.api import decode
from agentcg.daemon.api.problems import Refused
from agentcg.daemon.api.routes import CallsQuery
from agentcg.daemon.messages import BeginCall, EndCall, OpenSession
from agentcg.errors import InvalidInput


def mistake(raw: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        decode.body(raw, OpenSession)
    return caught.value


def test_empty_body_is_an_empty_object() -> None:
    """`curl -X POST .../end` needs no body."""
    assert decode.body(b"", EndCall) == EndCall()


@pytest.mark.parametrize(
    ("raw", "field", "value", "rule"),
    [
        (b'{"name": 7}', "name", "7", "must be str, got int"),
        (b'{"name": "a", "weight": 0}', "weight", "0", "must be int >= 1"),
        (b'{"name": "a", "pids": [1, "x"]}', "pids[1]", "'x'", "must be int, got str"),
        (b'{"name": "a", "labels": {"k": 1}}', "labels[...]", "{'k': 1}", "must be str, got int"),
        (b"{}", "name", "None", "required"),
        (b"[1]", "body", "[1]", "must be object, got array"),
    ],
)
def test_field_value_and_rule(raw: bytes, field: str, value: str, rule: str) -> None:
    """msgspec's sentence is taken apart into the problem document's fields."""
    found = mistake(raw)
    assert (found.field, found.value, found.rule) == (field, value, rule)


def test_unknown_field_comes_with_the_nearest_known_one() -> None:
    """A typing mistake is answered by what was meant."""
    found = mistake(b'{"name": "a", "lables": {}}')
    assert (found.field, found.remedy) == ("lables", "did you mean labels?")
    assert mistake(b'{"name": "a", "zzz": 1}').remedy == ""


def test_strange_unknown_names_are_shown_safely() -> None:
    """A field's name comes from outside: it may hold backquotes and control characters."""
    found = mistake(b'{"name": "a", "a`b - at `$.x`\\n": 1}')
    assert found.rule.startswith("known fields are name")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_stated_mistake(raw: bytes) -> None:
    """Nothing else ever comes out of the decoder."""
    with contextlib.suppress(InvalidInput, Refused):
        decode.body(raw, BeginCall)


def test_query_values_are_converted_and_checked() -> None:
    """Numbers and words of a query string, with the same care as bodies."""
    found = decode.query({"limit": "5", "state": "running"}, CallsQuery)
    assert found == CallsQuery(limit=5, state="running")
    for bad in ({"limit": "x"}, {"limit": "0"}, {"sate": "running"}):
        with pytest.raises(InvalidInput):
            decode.query(bad, CallsQuery)
