# SPDX-License-Identifier: Apache-2.0
"""Intents in the running service, on a clock of the test's own: answers, and how they change."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agentcg.daemon.engine.forecast import Sample
from agentcg.daemon.engine.occupancy import Occupant
from agentcg.daemon.messages import (
    BeginCall,
    ChangeHost,
    ChangeIntent,
    DeclareIntent,
    EndCall,
    Event,
    Intent,
    OpenSession,
    Priority,
)
from agentcg.daemon.service import bounds
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.host.root import Root
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.service import Service
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import Forbidden, InvalidInput, LimitExceeded, NotFound
from cgroup_support import own_cgroup
from support.clock import OwnClock, settled

MIB = 1 << 20
ROOT = Peer(uid=0, pid=os.getpid(), admin=True, locate=lambda: None)
MALLORY = Peer(uid=4999, pid=os.getpid(), admin=False, locate=lambda: None)


class Running:
    """A service whose sessions may have 1,000M, 950M of them for calls, and its clock."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.intents = service.intents
        self.clock = OwnClock(service.core.clock())
        service.core.clock = self.clock
        self.reader = service.core.bus.reader(lambda _: True)

    async def later(self, seconds: float) -> None:
        """Let time pass, and have the daemon look."""
        self.clock.later(seconds)
        self.service._sampling.tick()
        await settled()

    async def open(self, name: str, priority: Priority = "normal") -> None:
        await self.service.sessions.open(ROOT, OpenSession(name=name, priority=priority))

    def declare(self, name: str, memory: int | None = None, **fields: object) -> Intent:
        said = {"kind": "call", "memory_bytes": memory and memory * MIB, **fields}
        return self.intents.declare(ROOT, name, DeclareIntent(**said))  # type: ignore[arg-type]

    def state(self, intent: Intent) -> str | None:
        """The present answer to it; None once it is gone."""
        for one in self.intents.list(ROOT, intent.session).intents:
            if one.id == intent.id:
                return None if one.offer is None else one.offer.state
        return None

    def changed(self) -> list[Event]:
        return [event for event in self.reader.take() if event.kind == "intent.changed"]

    async def begin(self, name: str, **fields: object) -> str:
        request = BeginCall(tool="Bash", **fields)  # type: ignore[arg-type]
        return (await self.service.calls.begin(ROOT, name, request)).id


async def started(parent: Path, policies: Path) -> Running:
    root = Root.open(parent / "sessions", frozenset())
    service = Service(root, PolicyInForce(policies), pins=None)
    service.start()
    service.overview.change_host(ROOT, ChangeHost(memory_max_bytes=1000 * MIB))
    return Running(service)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    with own_cgroup() as parent:
        found = await started(parent.path, tmp_path)
        for name in ("a", "b"):
            await found.open(name)
        yield found
        await found.service.stop()


async def test_held_memory_is_for_its_own_session(running: Running) -> None:
    """600M held for a: a call of b that needs 500M waits while a call runs, one of a does not."""
    await running.begin("b", memory_bytes=10 * MIB)
    assert running.state(running.declare("a", 600)) == "grant"
    waits = asyncio.create_task(running.begin("b", memory_bytes=500 * MIB, wait_s=5.0))
    await settled()
    assert not waits.done()
    await running.begin("a", memory_bytes=500 * MIB, wait_s=5.0)
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)


async def test_a_call_that_is_announced_ends_an_idle_window(running: Running) -> None:
    """Also what the model will have written in a while; who is idle announces nothing."""
    heard: list[str] = []
    running.intents.on_announced = lambda session: heard.append(session.name)
    running.declare("a", 10)
    running.declare("b", kind="generating", start_in_s=5.0)
    running.declare("a", kind="idle")
    assert heard == ["a", "b"]


async def test_a_call_that_follows_takes_what_was_held(running: Running) -> None:
    """Its need counts in place of what was held, and that was a good use."""
    intent = running.declare("a", 600, duration_s=4.0)
    call = await running.begin("a", intent=intent.id)
    registry = running.service.core.registry
    assert registry.reserved_bytes == 0
    assert running.service.calls.get(ROOT, call).grant.memory_need_bytes == 600 * MIB
    running.service.calls.end(ROOT, call, EndCall(exit_status=0))
    shown = running.intents.calibration(ROOT, "a")
    assert (shown.used, shown.unused, shown.trust) == (1, 0, 1.0)


async def test_what_waits_is_granted_once_there_is_room(running: Running) -> None:
    """Two wait behind a call of 900M; when it ends both are granted, in order, and told."""
    call = await running.begin("a", memory_bytes=900 * MIB)
    first, second = running.declare("a", 400), running.declare("b", 300)
    assert [one.offer.position for one in (first, second)] == [1, 2]  # type: ignore[union-attr]
    running.changed()
    running.service.calls.end(ROOT, call, EndCall(exit_status=0))
    await settled()
    assert [(event.intent, event.text[:5]) for event in running.changed()] == [
        (first.id, "grant"), (second.id, "grant"),
    ]  # fmt: skip


async def test_higher_priority_is_granted_first(running: Running) -> None:
    """Of two that wait, and room for one, the one of high priority gets it."""
    await running.open("h", "high")
    call = await running.begin("a", memory_bytes=900 * MIB)
    low, high = running.declare("a", 600), running.declare("h", 600)
    running.service.calls.end(ROOT, call, EndCall(exit_status=0))
    await settled()
    assert (running.state(low), running.state(high)) == ("wait", "grant")


async def test_what_is_held_in_vain_lapses_and_is_told(running: Running) -> None:
    """After 10 s the memory is free for the one that waits, and trust is less."""
    vain, waits = running.declare("a", 600), running.declare("b", 600)
    await running.later(9)
    assert (running.state(vain), running.state(waits)) == ("grant", "wait")
    await running.later(2)
    assert (running.state(vain), running.state(waits)) == ("lapsed", "grant")
    assert [event.text.partition(":")[0] for event in running.changed()] == ["lapsed", "grant"]
    shown = running.intents.calibration(ROOT, "a")
    assert (shown.used, shown.unused) == (0, 1)
    assert shown.trust == pytest.approx(2 / 3)


async def test_a_later_start_holds_nothing_before(running: Running) -> None:
    """An intent for in 60 s holds its memory from 2 s before on; and is told if it cannot."""
    running.declare("a", 600, tool="Test", start_in_s=60.0)
    taken = running.service.core.registry
    assert taken.reserved_bytes == 0
    await running.later(59)
    assert taken.reserved_bytes == 600 * MIB
    late = running.declare("b", 300, start_in_s=60.0)
    await running.begin("a", memory_bytes=900 * MIB)
    await running.later(59)
    assert running.state(late) == "wait"


async def test_an_intent_can_shrink_split_and_be_given_up(running: Running) -> None:
    """What waits for 800M fits as 300M; parts share what is held; taken back, all is free."""
    await running.begin("b", memory_bytes=500 * MIB)
    intent = running.declare("a", 800)
    assert running.state(intent) == "wait"
    smaller = running.intents.change(ROOT, "a", intent.id, ChangeIntent(memory_bytes=300 * MIB))
    assert (smaller.offer and smaller.offer.state, smaller.tool) == ("grant", intent.tool)
    parts = [running.declare("a", 150, parent=intent.id) for _ in range(2)]
    registry = running.service.core.registry
    assert registry.reserved_bytes == 300 * MIB
    for one in (intent, *parts):
        running.intents.withdraw(ROOT, "a", one.id)
    assert registry.reserved_bytes == 0
    assert running.intents.calibration(ROOT, "a").unused == 0


async def test_what_comes_after_a_call_is_granted_when_that_has_ended(running: Running) -> None:
    """`after`: granted only once the call of the first one is over."""
    first = running.declare("a", 100)
    second = running.declare("a", 100, after=[first.id])
    call = await running.begin("a", intent=first.id)
    await running.later(1)
    assert running.state(second) == "wait"
    running.service.calls.end(ROOT, call, EndCall(exit_status=0))
    await settled()
    assert running.state(second) == "grant"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"parent": "abcdefgh"}, "parent"),
        ({"after": ["abcdefgh"]}, "after"),
        ({"deadline_s": 1.0, "duration_s": 2.0}, "deadline_s"),
    ],
)
async def test_what_is_not_there_is_named(
    running: Running, fields: dict[str, object], field: str
) -> None:
    """Unknown parents and predecessors and impossible deadlines are refused; nothing is kept."""
    with pytest.raises(InvalidInput) as caught:
        running.declare("a", 100, **fields)
    assert caught.value.field == field
    assert running.intents.list(ROOT, "a").intents == []


async def test_a_call_cannot_follow_what_was_not_declared(running: Running) -> None:
    """An unknown intent or parent of a call is an error of that field; no call is left."""
    for field in ("intent", "parent"):
        with pytest.raises(InvalidInput) as caught:
            await running.begin("a", **{field: "abcdefgh"})
        assert caught.value.field == field
    assert running.service.core.registry.calls == {}


async def test_others_intents_are_not_to_be_touched(running: Running) -> None:
    """Another user can neither declare, change, see nor take back; unknown ones are not found."""
    intent = running.declare("a", 100)
    for act in (
        lambda: running.intents.declare(MALLORY, "a", DeclareIntent(kind="idle")),
        lambda: running.intents.change(MALLORY, "a", intent.id, ChangeIntent()),
        lambda: running.intents.withdraw(MALLORY, "a", intent.id),
        lambda: running.intents.calibration(MALLORY, "a"),
    ):
        with pytest.raises(Forbidden):
            act()
    with pytest.raises(NotFound):
        running.intents.withdraw(ROOT, "b", intent.id)
    assert running.state(intent) == "grant"


async def test_a_flood_of_intents_is_cut_off(running: Running) -> None:
    """Of 10,000 at once those beyond the rate are refused; a second later there is room again, and
    what is kept stays within an attribute of a cgroup, however long the commands."""
    refused, began = 0, time.monotonic()
    for number in range(10_000):
        try:
            running.declare("a", 1, command=f"{number}" + "x" * 4000)
        except LimitExceeded:
            refused += 1
    passed_s = time.monotonic() - began + 1
    assert refused >= 10_000 - bounds.INTENTS_AT_ONCE - passed_s * bounds.INTENTS_PER_S
    await running.later(1)
    running.declare("a", 1)
    kept = running.service.core.registry.session("a").intents
    assert 1 <= len(kept) <= bounds.INTENTS_PER_SESSION_MAX


async def test_what_is_held_survives_the_daemon(tmp_path: Path) -> None:
    """The next daemon holds the same, and goes on to answer what waits."""
    with own_cgroup() as parent:
        before = await started(parent.path, tmp_path)
        await before.open("a")
        before.declare("a", 600)
        waits = before.declare("a", 500)
        await before.service.stop()
        after = await started(parent.path, tmp_path)
        assert after.service.core.registry.reserved_bytes == 600 * MIB
        await after.later(11)
        assert after.state(waits) == "grant"
        await after.service.stop()


async def test_a_child_begins_beside_its_parent(running: Running) -> None:
    """All room is promised to parents that wait for children: as nothing else could end, the first
    child begins at once, and the next one when that has ended."""
    parents = [await running.begin(name, memory_bytes=470 * MIB) for name in ("a", "b")]
    children = [
        asyncio.create_task(running.begin(name, memory_bytes=900 * MIB, wait_s=30.0, parent=parent))
        for name, parent in zip(("a", "b"), parents, strict=True)
    ]
    registry = running.service.core.registry
    ended = []
    for _ in children:
        async with asyncio.timeout(120):
            done, _ = await asyncio.wait(
                [one for one in children if one not in ended], return_when="FIRST_COMPLETED"
            )
        ended += done
        for one in done:
            assert registry.calls[one.result()].record.parent in parents
            running.service.calls.end(ROOT, one.result(), EndCall(exit_status=0))
    for call in parents:
        running.service.calls.end(ROOT, call, EndCall(exit_status=0))
    assert (registry.parents_waiting, registry.calls_running) == (0, 0)


async def test_ended_calls_teach_what_others_will_hold(running: Running, tmp_path: Path) -> None:
    """Calls that need 250M each begin beside others that took little so far; with `by: peaks` the
    last one waits."""
    future = running.service.core.future
    for _ in range(40):
        future.learn(None, "test", Sample(1.0, 20 * MIB))
    for number in range(4):
        await running.begin("a" if number % 2 else "b", command="pytest", wait_s=0.5)
    told = [call.feedback for call in running.service.core.registry.calls.values()]
    assert told == [[], [], [], []]
    (tmp_path / "a.yaml").write_text("version: 1\nadmission:\n  by: peaks\n")
    running.service.reload()
    last = await running.begin("a", command="pytest", wait_s=0.5)
    told = running.service.core.registry.calls[last].feedback
    assert [one.code for one in told] == ["no-room"]


async def test_waiting_intents_of_a_user_are_bounded(running: Running) -> None:
    """Of those that wait, 256 of a user are answered anew; one more is refused and not kept. Once
    one is taken back there is room for another one."""
    await running.begin("a", memory_bytes=900 * MIB)
    kept = []
    for number in range(bounds.INTENTS_WAITING_PER_UID_MAX):
        name = f"w{number // 30}"
        if number % 30 == 0:
            await running.open(name)
        kept.append(running.declare(name, 500))
    with pytest.raises(LimitExceeded):
        running.declare("b", 500)
    assert running.intents.list(ROOT, "b").intents == []
    running.intents.withdraw(ROOT, kept[0].session, kept[0].id)
    assert running.declare("b", 500).offer is not None


async def test_what_was_taken_back_leaves_nothing_behind(running: Running) -> None:
    """Ten thousand times declared for tomorrow and taken back: a bounded number is remembered."""
    for _ in range(10_000):
        running.clock.later(0.01)
        intent = running.declare("a", 10, start_in_s=80_000.0)
        running.intents.withdraw(ROOT, "a", intent.id)
    assert len(running.intents._due) <= 2048
    assert running.service.core.registry.reserved_bytes == 0


async def test_what_is_changed_again_and_again_counts_once(running: Running) -> None:
    """A thousand changes of an intent for tomorrow: one look at it, and memory that is held then
    is foreseen once."""
    intent = running.declare("a", 10, start_in_s=80_000.0)
    for number in range(2_000):
        running.clock.later(0.01)
        change = ChangeIntent(start_in_s=80_000.0 + number % 7)
        running.intents.change(ROOT, "a", intent.id, change)
    assert len(list(running.intents._coming())) == 1
    assert len(running.intents._due) <= 1024


async def test_held_intents_of_a_user_are_bounded(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be held for intents is summed up for all who wait: one user cannot make that
    long. Once one is taken back there is room for another one."""
    monkeypatch.setattr(bounds, "INTENTS_HELD_PER_UID_MAX", 8)
    kept = [running.declare("a", 10, start_in_s=80_000.0) for _ in range(8)]
    with pytest.raises(LimitExceeded):
        running.declare("b", 10, start_in_s=80_000.0)
    assert running.intents.list(ROOT, "b").intents == []
    running.intents.withdraw(ROOT, "a", kept[0].id)
    assert running.declare("b", 10, start_in_s=80_000.0).offer is not None


async def test_what_is_to_come_is_summed_up_at_times(running: Running) -> None:
    """However many answers need it; a session's own intents are no part of what others have."""
    asked = 0
    coming = running.service.core.future.coming

    def counted() -> Iterator[tuple[LiveSession, Occupant]]:
        nonlocal asked
        asked += 1
        yield from coming()

    future, sessions = running.service.core.future, running.service.core.registry.sessions
    future.coming = counted
    running.declare("a", 10, start_in_s=5.0, duration_s=60.0)
    own, other = future.ahead(sessions["a"])[0], future.ahead(sessions["b"])[0]
    assert max(own.means) == 0 < max(other.means)
    for _ in range(100):
        future.ahead(sessions["b"])
    assert asked <= 2
