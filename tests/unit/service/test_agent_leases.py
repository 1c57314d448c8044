# SPDX-License-Identifier: Apache-2.0
"""Leases of agents as they are carried out, and what is seen of an agent that waits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from agentcg.daemon.engine.ladder_model import Load
from agentcg.daemon.messages import MemoryWait
from agentcg.daemon.service.agent_leases import AgentLeases
from agentcg.daemon.service.measure import memory_wait
from agentcg.daemon.service.records import SessionRecord
from agentcg.daemon.service.state import LiveSession, Registry

MIB = 1 << 20
LOAD = Load(1000 * MIB, 900 * MIB, 900 * MIB)


class World:
    """The agents `a` and `b` of 300 MiB each, with leases of 310."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.core: Any = SimpleNamespace(
            registry=Registry(), publish=self.publish, clock=lambda: 50.0,
            memory_bytes=lambda: 1000 * MIB,
        )  # fmt: skip
        nothing: Any = None
        self.leases = AgentLeases(self.core, nothing, nothing, lambda: None)
        self.a, self.b = self.session("a"), self.session("b")

    def session(self, name: str) -> LiveSession:
        record = SessionRecord(
            id="x", name=name, uid=0, priority="low", weight=100, opened_at=0, tenant=None
        )
        runtime: Any = None
        session = LiveSession(record, runtime, runtime)
        session.runtime_bytes, session.runtime_lease_bytes = 300 * MIB, 310 * MIB
        self.core.registry.sessions[name] = session
        return session

    def publish(self, kind: str, _: str, session: LiveSession) -> None:
        self.told.append(f"{kind} {session.name}")


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
