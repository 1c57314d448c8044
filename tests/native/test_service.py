# SPDX-License-Identifier: Apache-2.0
"""The service without a socket, on a clock of the test's own: what time alone brings about."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentcg.daemon.api import bounds as api_bounds
from agentcg.daemon.api import listen
from agentcg.daemon.api.routes import ROUTES
from agentcg.daemon.api.server import Server
from agentcg.daemon.messages import (
    BeginCall,
    Call,
    ChangeHost,
    DeclareIntent,
    EndCall,
    EndReason,
    OpenSession,
)
from agentcg.daemon.service import bounds
from agentcg.daemon.service.clock import CLOCK
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.host.root import Root
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.service import Service
from agentcg.daemon.service.state import LiveCall
from agentcg.errors import CgroupError, LimitExceeded
from cgroup_support import own_cgroup
from service_support import ROOT, Running, running_service

ALICE = Peer(uid=4501, pid=os.getpid(), admin=False, locate=lambda: None)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_service(tmp_path) as it:
        yield it


async def test_nobody_is_looked_after_while_there_is_no_session(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host without agents is left asleep; the first session has the daemon look again."""
    looks = asyncio.Queue[None]()
    monkeypatch.setattr(bounds, "TICK_S", 0.01)
    monkeypatch.setattr(running.service._sampling, "tick", lambda: looks.put_nowait(None))
    for _ in range(3):
        await looks.get()
    asleep, sleep = asyncio.Event(), running.service._until_somebody_comes

    async def told() -> None:
        asleep.set()
        await sleep()

    monkeypatch.setattr(running.service, "_until_somebody_comes", told)
    await running.service.sessions.close(ROOT, "a", kill=False)
    await asyncio.wait_for(asleep.wait(), 60)
    while not looks.empty():  # those of before
        looks.get_nowait()
    await asyncio.sleep(0.1)
    assert looks.empty(), "it looks all the time"
    await running.service.sessions.open(ROOT, OpenSession(name="b"))
    for _ in range(3):
        await looks.get()


async def test_call_into_which_nothing_is_placed_expires(running: Running) -> None:
    """A caller that died between begin and start leaves no call for ever."""
    call = await running.service.calls.begin(ROOT, "a", BeginCall(tool="Bash"))
    running.later(bounds.UNUSED_CALL_S - 1)
    assert running.service.calls.get(ROOT, call.id).state == "running"
    running.later(2)
    ended = running.service.calls.get(ROOT, call.id)
    assert (ended.state, ended.end_reason) == ("ended", "expired")
    assert running.service.calls.end(ROOT, call.id, EndCall(exit_status=1)).exit_status == 1


async def test_trouble_with_one_call_keeps_no_other_from_being_looked_at(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the kernel's in one leaf is logged; the next call expires all the same."""
    calls = [await running.service.calls.begin(ROOT, "a", BeginCall(tool="Bash")) for _ in "ab"]
    endings = running.service._endings
    end = endings.end

    def refused(call: LiveCall, reason: EndReason) -> Call:
        if call.id == calls[0].id:
            raise CgroupError("/a", "memory.stat", None, errno.EMFILE)
        return end(call, reason)

    monkeypatch.setattr(endings, "end", refused)
    running.later(bounds.UNUSED_CALL_S + 1)
    states = [running.service.calls.get(ROOT, call.id).state for call in calls]
    assert states == ["running", "ended"]


async def test_what_was_told_is_not_told_again_by_the_next_daemon(tmp_path: Path) -> None:
    """That a call met its limit or the OOM killer is news once."""
    with own_cgroup() as parent:
        told = []
        for number in range(2):
            root = Root.open(parent.path / "sessions", frozenset())
            service = Service(root, PolicyInForce(tmp_path), pins=None)
            service.start()
            if number == 0:
                await service.sessions.open(ROOT, OpenSession(name="a"))
                await service.calls.begin(ROOT, "a", BeginCall(tool="Bash"))
            (call,) = service.core.registry.calls.values()
            reader = service.core.bus.reader(lambda _: True)
            service._endings.tell_oom(call)
            service._grants.met_limit(call)
            told.append([event.kind for event in reader.take()])
            await service.stop()
    assert told == [["call.oom", "call.over_grant"], []]


async def test_session_without_calls_becomes_idle(running: Running) -> None:
    """An agent that does nothing for long is not thinking any more, and that is an event."""
    session = running.service.core.registry.session("a")
    assert session.phase == "thinking"
    reader = running.service.core.bus.reader(lambda _: True)
    running.later(200)
    assert session.phase == "idle"
    assert [event.text for event in reader.take()] == ["thinking -> idle"]


async def test_intents_expire(running: Running) -> None:
    """A declaration holds until its deadline and is then neither listed nor kept."""
    running.service.intents.declare(ROOT, "a", DeclareIntent(kind="call", deadline_s=10))
    running.later(9)
    assert len(running.service.intents.list(ROOT, "a").intents) == 1
    running.later(2)
    assert running.service.intents.list(ROOT, "a").intents == []
    assert running.service.core.registry.session("a").record.intents == []


async def test_intents_are_bounded(running: Running) -> None:
    """Of too many declarations the oldest go: they are only advice."""
    for number in range(bounds.INTENTS_PER_SESSION_MAX + 1):
        running.service.intents.declare(ROOT, "a", DeclareIntent(kind="call", tool=f"t{number}"))
    kept = running.service.intents.list(ROOT, "a").intents
    assert [intent.tool for intent in kept][:1] == ["t1"]
    assert len(kept) == bounds.INTENTS_PER_SESSION_MAX


async def test_sessions_of_a_user_are_bounded(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than the bound is refused, for that user alone."""
    monkeypatch.setattr(bounds, "SESSIONS_PER_UID_MAX", 1)
    await running.service.sessions.open(ALICE, OpenSession(name="b"))
    with pytest.raises(LimitExceeded, match="uid 4501"):
        await running.service.sessions.open(ALICE, OpenSession(name="c"))
    assert not (running.service.core.root.cgroup.path / "c").exists()


async def test_calls_of_a_session_are_bounded(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running and lingering calls together, whatever the policy allows."""
    monkeypatch.setattr(bounds, "CALLS_PER_SESSION_MAX", 2)
    for _ in range(2):
        await running.service.calls.begin(ROOT, "a", BeginCall(tool="Bash"))
    with pytest.raises(LimitExceeded, match="running or lingering"):
        await running.service.calls.begin(ROOT, "a", BeginCall(tool="Bash"))


async def test_calls_wait_in_order(running: Running) -> None:
    """Those that find no room begin in the order in which they came, as calls end."""
    running.service.overview.change_host(ROOT, ChangeHost(memory_max_bytes=1000 << 20))
    await running.service.sessions.open(ROOT, OpenSession(name="low", priority="low"))
    calls, begun = running.service.calls, []

    async def waiting(number: int) -> str:
        need = BeginCall(tool=f"{number}", memory_bytes=600 << 20, wait_s=60)
        call = await calls.begin(ROOT, "low", need)
        begun.append(number)
        return call.id

    current = await waiting(0)
    tasks = []
    for number in (1, 2, 3):
        tasks.append(asyncio.create_task(waiting(number)))
        await asyncio.sleep(0)
    for number in (1, 2, 3):
        calls.end(ROOT, current, EndCall())
        current = await tasks[number - 1]
        assert begun == [*range(number + 1)]


async def test_ended_calls_are_bounded(running: Running) -> None:
    """The oldest accounts are dropped, the numbers stay."""
    registry = running.service.core.registry
    registry.ended.each = 3
    for _ in range(5):
        call = await running.service.calls.begin(ROOT, "a", BeginCall(tool="Bash"))
        running.service.calls.end(ROOT, call.id, EndCall())
    assert len(registry.ended) == 3
    assert registry.calls_total == 5


async def test_reader_that_takes_nothing_is_dropped(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stalled stream of events is cut, so that it holds no connection for ever."""
    monkeypatch.setattr(api_bounds, "WRITE_S", 0.2)
    server = Server(running.service, ROUTES)
    await server.start(listen.bind(tmp_path / "sock"))
    reader, writer = await asyncio.open_unix_connection(tmp_path / "sock", limit=1024)
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"agentcg events")
    async with asyncio.timeout(30):
        while server.connections:
            running.service.core.bus.publish("pressure", "x" * 50_000)
            await asyncio.sleep(0.005)
    writer.close()
    await server.stop()


async def test_committed_memory_returns_to_nothing(running: Running) -> None:
    """The running sum of what is promised has no drift over begins, changes and ends."""
    registry = running.service.core.registry
    for size in (64, 128, 256):
        request = BeginCall(tool="Bash", memory_bytes=size << 20)
        call = await running.service.calls.begin(ROOT, "a", request)
        assert registry.committed_bytes == size << 20
        running.later(1)
        running.service.calls.end(ROOT, call.id, EndCall())
    assert (registry.committed_bytes, registry.calls_running) == (0, 0)


async def test_calls_of_a_user_are_bounded(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sessions of one user together; the calls of others go on, and an end makes room."""
    monkeypatch.setattr(bounds, "CALLS_PER_UID_MAX", 2)
    calls = running.service.calls
    begun = []
    for name in ("b", "c"):
        await running.service.sessions.open(ALICE, OpenSession(name=name))
        begun.append(await calls.begin(ALICE, name, BeginCall(tool="Bash")))
    with pytest.raises(LimitExceeded, match="uid 4501"):
        await calls.begin(ALICE, "b", BeginCall(tool="Bash"))
    await calls.begin(ROOT, "a", BeginCall(tool="Bash"))
    calls.end(ALICE, begun[0].id, EndCall())
    await calls.begin(ALICE, "b", BeginCall(tool="Bash"))


@pytest.mark.parametrize("step_s", [86400.0, -86400.0])
async def test_setting_the_clock_changes_nothing_for_calls(
    running: Running, step_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call lasts as long as it lasts, and expires no sooner; who looks without calls sees the new
    time."""
    service, wall = running.service, time.time
    service.core.clock = CLOCK.now  # the daemon's own
    call = await service.calls.begin(ROOT, "a", BeginCall(tool="Bash"))
    monkeypatch.setattr(time, "time", lambda: wall() + step_s)
    running.later(0)
    assert service.calls.get(ROOT, call.id).state == "running"
    ended = service.calls.end(ROOT, call.id, EndCall(exit_status=0))
    assert 0 < ended.account.wall_s < 3600
    assert ended.ended_at is not None
    assert 0 < ended.ended_at - ended.begun_at < 3600
