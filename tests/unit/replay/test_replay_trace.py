# SPDX-License-Identifier: Apache-2.0
"""Reading traces: what is accepted, and that everything else is refused with a reason."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.replay import trace as module
from agentcg.daemon.replay.trace import load, parse, shell_span
from agentcg.errors import TraceError
from replay_support import shell, trace

GOOD: dict[str, Any] = {
    "format": 1,
    "task": "org__project-1",
    "dataset": "haiku",
    "run": "a1",
    "duration_s": 3.0,
    "model": "a field that replay has no use for",
    "samples": {"t_s": [0, 1.5, 3], "memory_mib": [10, 200, 12.5], "cpu_percent": [0, 90, 1]},
    "tool_calls": [
        {"id": "x", "tool": "Bash", "cat": "test", "start_s": 1, "end_s": 2, "command": "pytest"},
        {"id": "y", "tool": "Read", "cat": "search", "start_s": 2.5, "end_s": None},
    ],
}


def changed(path: str, value: object) -> bytes:
    """GOOD with one field set (or removed, if `value` is ...), as JSON."""
    data = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    place = data
    for parent in parents:
        place = place[int(parent)] if parent.isdigit() else place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(data).encode()


def test_a_plain_and_a_gzipped_file_give_the_same_trace(tmp_path: Path) -> None:
    """Both forms are told apart by content, not by name."""
    (tmp_path / "a.json").write_bytes(json.dumps(GOOD).encode())
    (tmp_path / "b.json").write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert load(tmp_path / "a.json") == load(tmp_path / "b.json")
    assert load(tmp_path / "a.json").name == "haiku__org__project-1__a1"


@pytest.mark.parametrize(
    ("path", "value", "field", "rule"),
    [
        ("format", 2, "format", "1, the only format known"),
        ("duration_s", ..., "object", "missing required field `duration_s`"),
        ("duration_s", "3", "duration_s", "Expected `float`, got `str`"),
        ("duration_s", 0, "duration_s", "more than 0"),
        ("duration_s", 1e300, "duration_s", "a number from 0 to 604800"),
        ("samples", [], "samples", "Expected `object`, got `array`"),
        ("samples.t_s", [0], "samples.t_s", "2 to 200000"),
        ("samples.t_s", [0, 2, 2], "samples.t_s[2]", "later than the one before"),
        ("samples.t_s", [0, None, 2], "samples.t_s[", "Expected `float`, got `null`"),
        ("samples.memory_mib", [1, 2], "samples.memory_mib", "3, as in t_s"),
        ("samples.memory_mib", [1, -2, 3], "samples.memory_mib[1]", "from 0 to"),
        ("samples.memory_mib", [1, 1e9, 3], "samples.memory_mib[1]", "from 0 to 1.04858e+06"),
        ("samples.cpu_percent", [0, 1e6, 0], "samples.cpu_percent[1]", "from 0 to 409600"),
        ("tool_calls", "none", "tool_calls", "Expected `array`, got `str`"),
        ("tool_calls.0.tool", ..., "tool_calls[", "missing required field `tool`"),
        ("tool_calls.0.start_s", -60, "tool_calls[0].start_s", "from -5 to 8"),
        ("tool_calls.0.end_s", 0.5, "tool_calls[0].end_s", "from 1 to 8"),
        ("tool_calls.0.active_from_s", 9, "tool_calls[0].active_from_s", "to 2.1"),
    ],
)
def test_a_broken_rule_is_named_with_file_and_field(
    path: str, value: object, field: str, rule: str
) -> None:
    """Every refusal says which file, which field and what it must be."""
    with pytest.raises(TraceError) as caught:
        parse(changed(path, value), "some/file.json")
    message = str(caught.value)
    assert message.startswith(f"some/file.json: {field}")
    assert rule in message


@pytest.mark.parametrize(
    "text", [b"", b"  \n", b"\xff\xfe", b"{", b"hello", b"<html>", json.dumps(GOOD).encode() + b"x"]
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    """Empty, binary, cut off or something else altogether: the file as a whole is refused."""
    with pytest.raises(TraceError, match=r"x: file: (empty|not JSON)"):
        parse(text, "x")


@pytest.mark.parametrize("text", [b"[1, 2]", b"7", b"null", b"[" * 5000, b'{"a":' * 5000])
def test_json_that_is_no_trace_is_refused(text: bytes) -> None:
    """Another kind of value, or one nested without end, is refused like a wrong field."""
    with pytest.raises(TraceError, match=r"^x: "):
        parse(text, "x")


def test_not_a_number_is_refused() -> None:
    """JSON has no NaN and no infinity, and Python's way of writing them is not accepted."""
    for word in ("NaN", "Infinity", "1e999"):
        raw = json.dumps(GOOD).replace("90", word).encode()
        with pytest.raises(TraceError):
            parse(raw, "x")


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    """A download that was cut off is said to be that."""
    whole = gzip.compress(json.dumps(GOOD).encode())
    for length in (3, len(whole) // 2, len(whole) - 1):
        (tmp_path / "t.json.gz").write_bytes(whole[:length])
        with pytest.raises(TraceError, match="truncated gzip data"):
            load(tmp_path / "t.json.gz")


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    """A wrong byte in the middle is noticed."""
    whole = bytearray(gzip.compress(json.dumps(GOOD).encode()))
    whole[len(whole) // 2] ^= 0xFF
    (tmp_path / "t.json.gz").write_bytes(whole)
    with pytest.raises(TraceError):
        load(tmp_path / "t.json.gz")


def test_a_huge_file_is_refused_without_being_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound holds for what comes out of the file, however small the file is."""
    monkeypatch.setattr(module, "FILE_MAX_BYTES", 1000)
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b" " * 1_000_000))
    (tmp_path / "plain.json").write_bytes(b" " * 1001)
    for name in ("bomb.json.gz", "plain.json"):
        with pytest.raises(TraceError, match="file: too large; it must be at most"):
            load(tmp_path / name)


def test_a_missing_file_or_a_directory_is_refused(tmp_path: Path) -> None:
    """The kernel's reason is passed on."""
    with pytest.raises(TraceError, match="No such file"):
        load(tmp_path / "missing.json")
    with pytest.raises(TraceError, match="Is a directory"):
        load(tmp_path)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_trace_error(raw: bytes) -> None:
    """Whatever a file holds, reading it gives a trace or a TraceError."""
    with contextlib.suppress(TraceError):
        parse(raw, "x")


def test_only_shell_calls_have_processes() -> None:
    """Reading and editing happen inside the agent."""
    recorded = trace([1, 1, 1], [shell("a", 0.5, 1.0, tool="Read")])
    assert shell_span(recorded, recorded.tool_calls[0]) is None


@pytest.mark.parametrize(
    ("call", "dataset", "span"),
    [
        (shell("a", 1.0, 2.0), "haiku", (1.0, 2.0)),
        (shell("a", 1.0, 8.0, active_from_s=3.0), "haiku", (3.0, 8.0)),
        (shell("a", 1.0, 2.0, active_from_s=2.05), "haiku", (1.99, 2.0)),
        (shell("a", -1.0, 2.0), "haiku", (0.0, 2.0)),
        (shell("a", 1.0, None), "haiku", (1.0, 20.0)),
        (shell("a", 1.0, 24.0), "haiku", (1.0, 20.0)),
        (shell("a", 2.0, 2.0), "haiku", (1.99, 2.0)),
        (shell("a", 1.0, 11.0), "glm-local", (8.3, 11.0)),
        (shell("a", 1.0, 5.0), "glm-local", (4.99, 5.0)),
        (shell("a", 1.0, 3.0), "glm-local", (1.0, 3.0)),
    ],
)
def test_a_call_lasts_from_its_first_activity_to_its_result(
    call: object, dataset: str, span: tuple[float, float]
) -> None:
    """Waiting for the model before a command is not the command; nothing outlasts the trace."""
    recorded = trace([1.0] * 21, [call], dataset=dataset)  # type: ignore[list-item]
    assert shell_span(recorded, recorded.tool_calls[0]) == pytest.approx(span)
