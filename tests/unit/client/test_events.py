# SPDX-License-Identifier: Apache-2.0
"""Server-sent events: parsed as the standard says, resumed where they broke off."""

from __future__ import annotations

from itertools import islice

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.client.events import EventStream, Message, parse
from agentcg.daemon.messages import Event
from agentcg.errors import Forbidden, Unavailable
from support.scripted_daemon import Received, ScriptedDaemon, problem


def wire(*ids: int) -> bytes:
    """Events with these ids, as the daemon sends them."""
    events = [Event(id=number, time=1.0, kind="call.begun") for number in ids]
    parts = [
        b"id: %d\nevent: call.begun\ndata: %s\n\n" % (event.id, msgspec.json.encode(event))
        for event in events
    ]
    return b": hello\n\n" + b"".join(parts)


def test_parse_joins_data_and_skips_comments() -> None:
    """Several data lines are one text; comments, unknown fields and \\r\\n make no difference."""
    lines = [b": ping\n", b"id: 7\r\n", b"retry: 5\n", b"data: a\n", b"data:b\n", b"\n"]
    assert list(parse(lines)) == [Message("7", "a\nb")]


def test_parse_drops_the_unfinished() -> None:
    """An event that the connection's end cut off is not delivered."""
    assert list(parse([b"data: whole\n", b"\n", b"data: half\n"])) == [Message("", "whole")]


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"") + b"\n")))
def test_parse_takes_any_lines(lines: list[bytes]) -> None:
    """No line that can arrive raises, and every message has data."""
    assert all(isinstance(message.data, str) for message in parse(lines))


def test_stream_resumes_after_the_last_event(daemon: ScriptedDaemon) -> None:
    """When the connection ends, the next asks for what came after; nothing arrives twice."""

    def answer(request: Received) -> bytes:
        after = int(request.headers.get("Last-Event-ID", "0"))
        return wire(after + 1, after + 2)

    daemon.on("GET", "/v1/events", answer)
    stream = EventStream(daemon.path, "/v1/events")
    assert [event.id for event in islice(stream, 5)] == [1, 2, 3, 4, 5]
    asked = [request.headers.get("Last-Event-ID") for request in daemon.requests]
    assert asked == [None, "2", "4"]


def test_stream_survives_a_restart(daemon: ScriptedDaemon) -> None:
    """A daemon that is away for a moment does not end the stream."""
    daemon.on("GET", "/v1/events", lambda request: wire(len(daemon.requests)))
    events = iter(EventStream(daemon.path, "/v1/events", reconnect_s=10))
    assert next(events).id == 1
    daemon.stop()
    daemon.start()
    assert next(events).id == 2


def test_stream_ends_when_the_daemon_stays_away(daemon: ScriptedDaemon) -> None:
    """The wait for its return is bounded."""
    daemon.on("GET", "/v1/events", wire(1))
    events = iter(EventStream(daemon.path, "/v1/events", reconnect_s=0.1))
    next(events)
    daemon.stop()
    with pytest.raises(Unavailable):
        next(events)


def test_absent_daemon_is_told_at_once(daemon: ScriptedDaemon) -> None:
    """Who was never there is not waited for."""
    daemon.stop()
    with pytest.raises(Unavailable):
        next(iter(EventStream(daemon.path, "/v1/events")))


def test_refusal_ends_the_stream(daemon: ScriptedDaemon) -> None:
    """Not permitted is not a reason to try again."""
    daemon.on("GET", "/v1/events", problem(403, "forbidden", "not yours"))
    with pytest.raises(Forbidden, match="not yours"):
        next(iter(EventStream(daemon.path, "/v1/events")))
    assert len(daemon.requests) == 1


def test_begins_after_the_given_event(daemon: ScriptedDaemon) -> None:
    """`last_id` 0 asks for everything that is kept."""
    daemon.on("GET", "/v1/events", wire(1))
    next(iter(EventStream(daemon.path, "/v1/events", last_id=0)))
    assert daemon.requests[0].headers["Last-Event-ID"] == "0"
