# SPDX-License-Identifier: Apache-2.0
"""The ladder's steps on real cgroups, with memory and time as the test says."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agentcg.daemon.engine.ladder_model import Load, SessionLoad
from agentcg.daemon.messages import BeginCall, Call, EndCall, OpenSession
from agentcg.daemon.service.enforce.ladder_load import Loads
from agentcg.daemon.service.enforce.release import LADDER_MARK
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.host.root import Root
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.service import Service
from agentcg.daemon.service.state import LiveCall
from agentcg.errors import Conflict, NotFound
from cgroup_support import own_cgroup, process
from support.clock import OwnClock

ROOT = Peer(uid=0, pid=os.getpid(), admin=True, locate=lambda: None)
MIB = 1 << 20
BOUND = 1000 * MIB


class Scripted(Loads):
    """1000 MiB for all, of which the test says how many are free and what each call holds."""

    room = 500

    def root(self) -> Load:
        return Load(BOUND, BOUND - self.room * MIB, BOUND, 0.0, 0)

    def sessions(self, look_at: Callable[[LiveCall], None]) -> tuple[SessionLoad, ...]:
        for call in self._core.registry.calls.values():
            call.memory_bytes = 100 * MIB
        return tuple(self.of_session(s) for s in self._core.registry.sessions.values())


class Running:
    """A service with a call of high priority and two of low, each with a process."""

    def __init__(self, service: Service, calls: list[Call]) -> None:
        self.service = service
        self.high, self.old, self.young = calls
        self.loads = Scripted(service.core)
        service.ladder._loads = self.loads
        self.clock = OwnClock(service.core.clock())
        service.core.clock = self.clock
        self.reader = service.core.bus.reader(lambda _: True)

    async def look(self, room: int) -> None:
        """Have the ladder look two seconds later, and everything that it does be done."""
        self.clock.later(2.0)
        self.loads.room = room
        self.service.ladder._look()
        await asyncio.get_running_loop().run_in_executor(
            self.service.ladder._hands._writer, lambda: None
        )

    def live(self, call: Call) -> LiveCall:
        return self.service.core.registry.calls[call.id]

    def steps(self, call: Call) -> list[str]:
        """What was done to it after its begin."""
        actions = self.service.ladder.of_call(ROOT, call.id).actions
        return [action.kind for action in actions if action.kind not in ("grant", "lease")]

    async def until_frozen(self, call: Call, frozen: bool) -> None:
        async with asyncio.timeout(120):
            while self.live(call).cgroup.events().frozen is not frozen:  # noqa: ASYNC110 - the kernel
                await asyncio.sleep(0.01)

    def told(self) -> list[str]:
        """Kinds of the events about calls since the last time."""
        kinds = [event.kind for event in self.reader.take()]
        return [kind for kind in kinds if kind.startswith("call.")]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    with own_cgroup() as parent, contextlib.ExitStack() as stack:
        root = Root.open(parent.path / "sessions", frozenset())
        service = Service(root, PolicyInForce(tmp_path), pins=None)
        service.start()
        calls = []
        for name, priority in (("a", "high"), ("b", "low"), ("c", "low")):
            tool = stack.enter_context(process())
            await service.sessions.open(ROOT, OpenSession(name=name, priority=priority))  # type: ignore[arg-type]
            request = BeginCall(tool="Bash", memory_bytes=32 * MIB, pid=tool.pid)
            calls.append(await service.calls.begin(ROOT, name, request))
        yield Running(service, calls)
        await service.stop()


async def test_up_the_ladder_and_down_again(running: Running) -> None:
    """Throttled, frozen, thawed and released, told in events and kept for `explain`; the mark
    is on the leaf all the while, and the call of high priority is left alone."""
    leaf = running.live(running.old).cgroup
    running.told()
    await running.look(room=35)
    assert (running.live(running.old).step, leaf.get_attr(LADDER_MARK)) == (
        "throttled", b"throttled"
    )  # fmt: skip
    await running.look(room=20)
    await running.until_frozen(running.old, True)
    await running.until_frozen(running.young, True)
    assert leaf.get_attr(LADDER_MARK) == b"frozen"
    assert running.service.core.registry.session("b").phase == "paused"
    await running.look(room=500)
    await running.until_frozen(running.old, False)
    await running.look(room=500)
    assert (running.live(running.old).step, leaf.get_attr(LADDER_MARK)) == (None, None)
    assert running.service.core.registry.session("b").phase == "calling"
    assert running.steps(running.old) == ["throttle", "freeze", "thaw", "unthrottle"]
    assert running.steps(running.high) == []
    assert running.told() == [
        "call.throttled", "call.throttled", "call.frozen", "call.frozen",
        "call.thawed", "call.thawed", "call.unthrottled", "call.unthrottled",
    ]  # fmt: skip


async def test_who_was_frozen_twice_goes_on_when_both_have_let_go(running: Running) -> None:
    """Thawed by hand while memory is short it stays as it is, and goes on when there is room; who
    was frozen by the ladder alone is not thawed by hand."""
    by_hand = running.service.by_hand
    by_hand.freeze(ROOT, running.old.id)
    await running.look(room=35)
    await running.look(room=20)
    await running.until_frozen(running.young, True)
    running.told()
    by_hand.thaw(ROOT, running.old.id)
    with pytest.raises(Conflict):
        by_hand.thaw(ROOT, running.young.id)
    with pytest.raises(Conflict):
        by_hand.thaw(ROOT, running.old.id)
    assert running.live(running.old).cgroup.events().frozen
    assert running.told() == []
    last = running.service.ladder.of_call(ROOT, running.old.id).actions[-1]
    assert (last.kind, last.rule) == ("thaw", "by hand")
    assert last.reason.endswith("; it goes on when there is room")
    await running.look(room=500)
    await running.until_frozen(running.old, False)


async def test_a_killed_call_is_explained_to_its_agent(running: Running) -> None:
    """One low call dies, frozen as it is; its end says who killed it, at what, and a way on."""
    for room in (35, 20, 8):
        await running.look(room)
    async with asyncio.timeout(120):
        while running.young.id in running.service.core.registry.calls:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
    ended = running.service.calls.end(ROOT, running.young.id, EndCall(exit_status=137))
    assert (ended.state, ended.end_reason, ended.exit_status) == ("ended", "killed", 137)
    assert [told.code for told in ended.feedback] == ["killed"]
    assert "agentcg killed the call at 100M of a 32M grant" in ended.feedback[0].text
    assert running.steps(running.young) == ["throttle", "freeze", "kill"]
    assert {running.old.id, running.high.id} <= set(running.service.core.registry.calls)
    session = running.service.ladder.of_session(ROOT, "c").actions
    assert [action.kind for action in session] == ["throttle", "freeze", "kill"]
    assert "call.killed" in running.told()


async def test_a_clean_stop_holds_nobody_back(running: Running) -> None:
    """Whoever is frozen when the daemon is stopped goes on."""
    await running.look(room=35)
    await running.look(room=20)
    await running.until_frozen(running.young, True)
    running.service.ladder.close()
    await running.until_frozen(running.young, False)
    assert running.live(running.young).cgroup.get_attr(LADDER_MARK) is None


async def test_who_is_unknown_is_not_explained(running: Running) -> None:
    """Calls and sessions that do not exist are errors like everywhere."""
    with pytest.raises(NotFound):
        running.service.ladder.of_call(ROOT, "nobody22")
    with pytest.raises(NotFound):
        running.service.ladder.of_session(ROOT, "nobody")
