# SPDX-License-Identifier: Apache-2.0
"""Leases of agents as they are carried out, and what is seen of an agent that waits."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.cgroups import MAX, Cgroup, Limits
from agentcg.cgroups.values import MemoryEvents
from agentcg.daemon.engine.ladder_model import Load
from agentcg.daemon.messages import MemoryWait
from agentcg.daemon.service.accounts.measure import memory_wait
from agentcg.daemon.service.enforce.agent_leases import AgentLeases
from agentcg.daemon.service.enforce.ladder_apply import Done, Hands
from agentcg.daemon.service.records import SessionRecord
from agentcg.daemon.service.registry import Registry
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import AgentcgError, CgroupError, CgroupGone

MIB = 1 << 20
LOAD = Load(1000 * MIB, 900 * MIB, 900 * MIB)


class Runtime:
    """The leaf of an agent that has been held up `high` times; a write of its limit can fail."""

    path = "/a/runtime"

    def __init__(self) -> None:
        self.high = 0
        self.error: AgentcgError | None = None
        self.limits: list[Any] = []
        self.removed = False
        self.no_descriptor = False

    def get(self, _: object) -> MemoryEvents:
        if self.removed:
            raise CgroupGone("/removed", "memory.events", None, errno.ENODEV)
        return MemoryEvents(0, self.high, 0, 0, 0, None)


class World:
    """The agents `a` and `b` of 300 MiB each, with leases of 310; also hands, watcher and loads.

    What is handed over to be written is so at `write`.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self.armed: list[str] = []
        self.asked = 0
        self.pending: list[tuple[Runtime, Callable[[], Limits], Done]] = []
        self.core: Any = SimpleNamespace(
            registry=Registry(), publish=self.publish, clock=lambda: 50.0,
            memory_bytes=lambda: 1000 * MIB, watcher=self,
        )  # fmt: skip
        anything: Any = self
        self.leases = AgentLeases(self.core, anything, anything, self.ask)
        self.a, self.b = self.session("a"), self.session("b")

    def session(self, name: str) -> LiveSession:
        record = SessionRecord(
            id="x", name=name, uid=0, priority="low", weight=100, opened_at=0, tenant=None
        )
        runtime: Any = Runtime()
        session = LiveSession(record, runtime, runtime)
        session.runtime_bytes, session.runtime_lease_bytes = 300 * MIB, 310 * MIB
        self.core.registry.sessions[name] = session
        return session

    def publish(self, kind: str, _: str, session: LiveSession) -> None:
        self.told.append(f"{kind} {session.name}")

    def ask(self) -> None:
        self.asked += 1

    def look_at_session(self, session: LiveSession) -> None:
        session.runtime_current_bytes = session.runtime_bytes

    def watch_memory(self, _: Runtime, session: LiveSession) -> None:
        self.armed.append(session.name)

    def rearm(self, session: LiveSession) -> None:
        self.armed.append(session.name)

    def bound_agent(self, runtime: Runtime, lease: Callable[[], Limits], done: Done) -> None:
        if runtime.no_descriptor:
            raise OSError(errno.EMFILE, "Too many open files")
        self.pending.append((runtime, lease, done))

    def write(self) -> None:
        """As the thread does it, in order."""
        pending, self.pending = self.pending, []
        for runtime, lease, done in pending:
            if runtime.error is None:
                runtime.limits.append(lease().memory_high)
            done(runtime.error)


def leaf(session: LiveSession) -> Runtime:
    found: Any = session.runtime
    assert isinstance(found, Runtime)
    return found


def refused() -> CgroupError:
    return CgroupError("/a", "memory.high", MIB, errno.EIO)


# --- What is written ---


def test_no_lease_is_written_on_the_loop() -> None:
    """Nor a longer one: the kernel reclaims in the write what the agent has charged beyond it."""
    world = World()
    world.leases.apply({"a": 400 * MIB, "b": 100 * MIB})
    assert (leaf(world.a).limits, leaf(world.b).limits) == ([], [])
    world.write()
    assert (leaf(world.a).limits, leaf(world.b).limits) == ([400 * MIB], [100 * MIB])


def test_what_is_written_is_the_latest() -> None:
    """Whatever was wanted when the write was handed over."""
    world = World()
    world.leases.apply({"a": 400 * MIB})
    world.leases.apply({"a": None})
    world.write()
    assert leaf(world.a).limits == [MAX, MAX]


def test_a_failed_write_is_tried_again_at_each_look_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Until it succeeds; then the next failure is news."""
    world = World()
    leaf(world.a).error = refused()
    for leases in ({"a": 400 * MIB}, {}, {"b": 320 * MIB}):
        world.leases.apply(leases)
        world.write()
    assert len(caplog.messages) == 1
    assert "the lease of agent a is tried again" in caplog.text
    leaf(world.a).error = None
    world.leases.apply({})
    world.write()
    assert leaf(world.a).limits == [400 * MIB]
    world.leases.apply({})
    assert world.pending == []
    leaf(world.a).error = refused()
    world.leases.apply({"a": 500 * MIB})
    world.write()
    assert len(caplog.messages) == 2


def test_who_has_no_descriptor_for_the_thread_is_tried_again_and_others_have_their_lease() -> None:
    """A daemon that has too many files open writes what it can, and the rest at the next look."""
    world = World()
    leaf(world.a).no_descriptor = True
    world.leases.apply({"a": 400 * MIB, "b": 320 * MIB})
    world.write()
    assert (leaf(world.a).limits, leaf(world.b).limits) == ([], [320 * MIB])
    leaf(world.a).no_descriptor = False
    world.leases.apply({})
    world.write()
    assert leaf(world.a).limits == [400 * MIB]


def test_a_session_that_is_gone_is_not_tried_again() -> None:
    """Its leaf is removed, or about to be."""
    world = World()
    leaf(world.a).error = refused()
    world.leases.apply({"a": 400 * MIB, "b": 400 * MIB})
    world.write()
    world.a.closing = True
    world.leases.apply({"a": 450 * MIB, "nobody": MIB})
    assert world.pending == []


def test_when_the_ladder_ends_nobody_has_a_lease_or_waits() -> None:
    """All are written, those without a lease left out."""
    world = World()
    world.b.runtime_lease_bytes = None
    world.leases.note(LOAD, {"a": 42.0})
    world.leases.release()
    world.write()
    assert (leaf(world.a).limits, leaf(world.b).limits) == ([MAX], [])
    assert (world.a.runtime_waits_since, world.armed) == (None, [])


async def hands_wrote(cgroup: Cgroup) -> AgentcgError | None:
    """What became of a write; it is told on the loop."""
    hands = Hands(lambda limits: limits)
    told: asyncio.Future[AgentcgError | None] = asyncio.get_running_loop().create_future()
    here, wrote = threading.get_ident(), []

    def lease() -> Limits:
        wrote.append(threading.get_ident())
        return Limits(memory_high=MIB)

    def done(error: AgentcgError | None) -> None:
        assert threading.get_ident() == here
        told.set_result(error)

    hands.bound_agent(cgroup, lease, done)
    error = await told
    hands.close()
    assert here not in wrote
    return error


def test_a_refusal_is_told_on_the_loop_and_not_in_the_thread(tmp_path: Path) -> None:
    """Here of a folder that is no cgroup of agentcg."""
    with Cgroup(os.open(tmp_path, os.O_DIRECTORY), tmp_path) as cgroup:
        error = asyncio.run(hands_wrote(cgroup))
    assert isinstance(error, CgroupError)
    assert "not a cgroup of agentcg" in str(error)


# --- Hearing when one is met ---


def test_the_next_time_is_heard_of_when_the_lease_is_in_force() -> None:
    """Until then it is the one of before that is met."""
    world = World()
    world.leases.apply({"a": 400 * MIB})
    assert world.armed == []
    world.write()
    assert world.armed == ["a"]


def test_an_agent_that_meets_its_lease_has_the_ladder_decide() -> None:
    """Once: it is heard of again when it has another lease."""
    world = World()
    leaf(world.a).high = 1
    world.leases.news(world.a)
    assert (world.asked, world.a.runtime_met, world.armed) == (1, True, [])
    assert world.a.runtime_current_bytes == 300 * MIB
    world.leases.apply({"a": 400 * MIB})
    assert world.a.runtime_met is False


def test_other_events_of_the_leaf_ask_for_nothing() -> None:
    """The next one is listened for."""
    world = World()
    world.leases.news(world.a)
    assert (world.asked, world.a.runtime_met, world.armed) == (0, False, ["a"])


def test_news_of_who_has_no_lease_or_is_gone_are_none() -> None:
    """Neither is armed again."""
    world = World()
    for session in (world.a, world.b):
        leaf(session).high = 1
    world.a.runtime_lease_bytes = None
    world.b.closing = True
    gone = world.session("gone")
    leaf(gone).removed = True
    for session in (world.a, world.b, gone):
        world.leases.news(session)
    assert (world.asked, world.armed) == (0, [])


def test_who_holds_less_by_now_is_to_be_heard_of_again() -> None:
    """But not who is still at its lease."""
    world = World()
    world.a.runtime_met = world.b.runtime_met = True
    world.a.runtime_current_bytes, world.b.runtime_current_bytes = 100 * MIB, 310 * MIB
    world.leases.rest()
    assert (world.a.runtime_met, world.b.runtime_met, world.armed) == (False, True, ["a"])


# --- Waiting ---


def test_who_waits_is_told_once_and_seen_as_long_as_it_does() -> None:
    """With since when, what it holds and where it is held up; nobody else is seen waiting."""
    world = World()
    world.leases.note(LOAD, {"a": 42.0})
    world.leases.note(LOAD, {"a": 42.0})
    assert memory_wait(world.a) == MemoryWait(42.0, 300 * MIB, 310 * MIB)
    assert memory_wait(world.b) is None
    world.leases.note(LOAD, {"b": 44.0})
    assert memory_wait(world.a) is None
    assert world.told == ["session.slowed a", "session.slowed b"]
    assert [action.held_bytes for action in world.a.actions] == [300 * MIB]


def test_who_is_let_go_since_all_wait_is_not_seen_waiting() -> None:
    """The kernel decides about it, so that it is held up no more."""
    world = World()
    world.leases.note(LOAD, {"a": 42.0})
    world.a.runtime_lease_bytes = None
    assert memory_wait(world.a) is None


def test_a_session_that_closed_while_it_waited_is_nobodys_matter() -> None:
    """Nor is one that was opened under its name since: it is told anew."""
    world = World()
    world.leases.note(LOAD, {"a": 42.0})
    del world.core.registry.sessions["a"]
    world.leases.note(LOAD, {"a": 42.0})
    again = world.session("a")
    world.leases.note(LOAD, {"a": 60.0})
    assert again.runtime_waits_since == 60.0
    assert world.told == ["session.slowed a"] * 2
