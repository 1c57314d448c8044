# SPDX-License-Identifier: Apache-2.0
"""A snapshot is what `agentcg status --json` prints, or as little as decisions need."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.messages import Grant
from agentcg.daemon.trial.snapshot import read, with_logins
from agentcg.errors import InvalidInput
from support.examples import a_call, a_health, a_host, a_session

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "snapshot.json"
MIB = 1 << 20


def test_what_status_prints_is_a_snapshot() -> None:
    """Nothing has to be taken out or put in: the output of `status --json` is read as it is."""
    declared = Grant(
        memory_high_bytes=None, memory_max_bytes=None, cpu_weight=100, pids_max=None,
        source="declared", reason="", memory_need_bytes=64 * MIB,
    )  # fmt: skip
    status = {
        "health": a_health(), "host": a_host(), "sessions": [a_session(asked_priority="low")],
        "calls": [a_call(), a_call("other", grant=declared)],
    }  # fmt: skip
    found = read(msgspec.json.encode(status))
    assert found.host.memory_total_bytes == a_host().memory_total_bytes
    assert (found.sessions[0].asked_priority, found.sessions[0].phase) == ("low", "thinking")
    assert [call.account.memory_current_bytes for call in found.calls] == [96 * MIB] * 2
    assert [call.declared_bytes for call in found.calls] == [None, 64 * MIB]


def test_the_example_of_the_documents_is_one() -> None:
    """The snapshot that docs/policy.md shows is read."""
    found = read(EXAMPLE.read_bytes())
    assert [session.name for session in found.sessions] == ["reviewer", "nightly", "triage"]
    assert found.calls[2].declared_bytes == 256 * MIB


def test_as_little_as_a_host_will_do() -> None:
    """Everything else has a default."""
    assert read(b'{"host": {"memory_total_bytes": 1073741824}}').sessions == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"host": None}, "host"),
        ({"host": {}}, "memory_total_bytes"),
        ({"host": {"memory_total_bytes": 0}}, "host.memory_total_bytes"),
        ({"host": {"memory_total_bytes": "4G"}}, "host.memory_total_bytes"),
        ({"sessions": [{"name": "../x"}]}, "sessions"),
        ({"sessions": [{"name": "a"}, {"name": "a"}]}, "each name once"),
        ({"sessions": [{"name": "a", "phase": "asleep"}]}, "phase"),
        ({"calls": [{"session": "b"}]}, "calls[0].session"),
        ({"calls": {}}, "calls"),
    ],
)
def test_what_is_no_snapshot(change: dict[str, Any], words: str) -> None:
    """What is wrong is named, with its field."""
    text = json.dumps({"host": {"memory_total_bytes": 1 << 30}, **change})
    with pytest.raises(InvalidInput) as caught:
        read(text.encode())
    assert words in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    """Whatever a file holds, it is a snapshot or a mistake."""
    with contextlib.suppress(InvalidInput):
        assert read(data).host


def test_login_names_are_filled_in_where_they_are_not_told() -> None:
    """`status` tells user ids alone; rules ask for names."""
    text = '{"host": {"memory_total_bytes": 1073741824}, "sessions": [{"name": "a", "uid": 7}, '
    found = with_logins(read(f'{text}{{"name": "b", "user": "eve"}}]}}'.encode()), {7: "bob"}.get)
    assert [session.user for session in found.sessions] == ["bob", "eve"]
