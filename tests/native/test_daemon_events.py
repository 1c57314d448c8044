# SPDX-License-Identifier: Apache-2.0
"""Server-sent events: what comes, to whom, and from where on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from agentcg.serving import events
from cgroup_support import process
from daemon_support import Daemon, as_user, fresh, own_daemon, stream


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


def test_life_of_a_call_is_told_in_order(daemon: Daemon) -> None:
    """Session and call appear in the order in which things happened, ids growing by one."""
    name = fresh()
    with stream(daemon) as events:
        daemon.open(name)
        with process() as left:
            call = daemon.begin(name, pid=left.pid)
            daemon.end(call["id"])
        told = events.take(6)
    assert [event["kind"] for event in told] == [
        "session.opened", "call.begun", "phase.changed", "call.ended", "phase.changed", "call.gone",
    ]  # fmt: skip
    ids = [event["id"] for event in told]
    assert ids == list(range(ids[0], ids[0] + 6))


def test_a_changed_grant_is_told(daemon: Daemon) -> None:
    """With its reason; asked for again it is the same, and nothing is told."""
    name = fresh()
    daemon.open(name)
    call = daemon.begin(name, memory_bytes=64 << 20)
    with stream(daemon, f"/v1/events?session={name}") as events:
        for _ in range(2):
            changed = daemon.good("PATCH", f"/v1/calls/{call['id']}", {"memory_bytes": 512 << 20})
        daemon.end(call["id"])
        told = events.take(2)
    assert [event["kind"] for event in told] == ["grant.changed", "call.ended"]
    assert told[0]["text"] == changed["grant"]["reason"]


def test_filter_by_session(daemon: Daemon) -> None:
    """With ?session= only that session's events come."""
    mine, other = fresh(), fresh()
    daemon.open(mine)
    with stream(daemon, f"/v1/events?session={mine}") as events:
        daemon.open(other)
        call = daemon.begin(mine)
        told = events.take(1)
    assert (told[0]["session"], told[0]["call"]) == (mine, call["id"])


def test_a_router_reads_them_in_its_own_loop(daemon: Daemon) -> None:
    """By `agentcg.serving.events`: what happened comes as it does by HTTP."""
    name = fresh()

    async def first() -> dict[str, Any]:
        found = events(str(daemon.path), session=name)
        waiting = asyncio.ensure_future(anext(found))
        while not waiting.done():  # until the stream is there, nothing of it is told
            await asyncio.to_thread(daemon.good, "POST", intents, {"kind": "generating"})
            await asyncio.wait([waiting], timeout=0.05)
        await found.aclose()
        return waiting.result()

    intents = f"/v1/sessions/{name}/intents"
    daemon.open(name)
    told = asyncio.run(first())
    assert (told["session"], told["kind"]) == (name, "intent.declared")


def test_resuming_misses_and_repeats_nothing(daemon: Daemon) -> None:
    """With Last-Event-ID the stream goes on right after that event."""
    name = fresh()
    with stream(daemon) as events:
        daemon.open(name)
        first = events.take(1)[0]
    for _ in range(3):
        daemon.good("POST", f"/v1/sessions/{name}/intents", {"kind": "generating"})
    with stream(daemon, last=str(first["id"])) as events:
        told = events.take(3)
    assert [event["id"] for event in told] == [first["id"] + n for n in (1, 2, 3)]


def test_gap_is_stated(daemon: Daemon) -> None:
    """Who comes back too late is told that events are lost, and gets those that are kept."""
    name = fresh()
    with stream(daemon) as events:
        daemon.open(name)
        first = events.take(1)[0]
    for _ in range(1100):
        daemon.good("POST", f"/v1/sessions/{name}/intents", {"kind": "generating"})
    with stream(daemon, last=str(first["id"])) as events:
        told = events.take(2)
    assert told[0]["kind"] == "events.lost"
    assert told[0]["id"] > first["id"]
    assert told[1]["id"] == told[0]["id"] + 1


def test_ids_grow_over_a_restart(daemon: Daemon) -> None:
    """A client that resumes at a new daemon with an old id is told of the gap."""
    with stream(daemon) as events:
        daemon.open(fresh())
        before = events.take(1)[0]["id"]
    daemon.restart()
    with stream(daemon, last=str(before)) as events:
        told = events.take(1)[0]
    assert (told["kind"], told["id"] > before) == ("events.lost", True)


def test_users_see_their_own_events_and_the_host_s(daemon: Daemon) -> None:
    """Another user's sessions do not appear in the stream, also not when it is resumed."""
    with stream(daemon) as events:
        daemon.open(fresh())
        before = events.take(1)[0]["id"]
    daemon.open(fresh("roots"))
    mine = fresh()

    def watch() -> Any:
        daemon.open(mine)
        with stream(daemon, last=str(before)) as events:
            return events.take(1)[0]["session"]

    assert as_user(4401, watch) == mine


def test_stop_is_told_and_ends_the_stream(daemon: Daemon) -> None:
    """Readers learn that the daemon stops, and do not keep it from stopping."""
    with stream(daemon) as events:
        daemon.stop()
        assert events.take(1)[0]["kind"] == "daemon.stopping"
    daemon.start()


def test_bad_last_event_id_is_refused(daemon: Daemon) -> None:
    """An id that this daemon cannot have given is a mistake, not the beginning of time."""
    for bad in ("x", "-1", "9" * 30):
        assert daemon.ask("GET", "/v1/events", headers={"Last-Event-ID": bad}).status == 400


def test_slow_reader_costs_nothing_and_is_told(daemon: Daemon) -> None:
    """A reader that takes nothing holds up nobody, and finds the gap when it reads again."""
    names = [fresh() for _ in range(2)]  # each may declare 2,000 at once
    for name in names:
        daemon.open(name)
    with stream(daemon) as slow:
        for name in names * 1900:
            daemon.good("POST", f"/v1/sessions/{name}/intents", {"kind": "generating"})
        for name in names:
            daemon.good("DELETE", f"/v1/sessions/{name}")
        kinds: list[str] = []
        while "session.closed" not in kinds:
            kinds += [event["kind"] for event in slow.take(1)]
    assert "events.lost" in kinds
    assert len(kinds) < 3800
