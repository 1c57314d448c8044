# SPDX-License-Identifier: Apache-2.0
"""Leases as they are carried out: what wakes whom, and what is written in which order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from agentcg.cgroups import Limits
from agentcg.cgroups.values import MemoryEvents, MemoryStat
from agentcg.daemon.engine.ladder_model import TUNING, Load
from agentcg.daemon.messages import Grant
from agentcg.daemon.service.enforce.ladder_apply import _shorten
from agentcg.daemon.service.enforce.leases import Leases
from agentcg.daemon.service.records import CallRecord
from agentcg.daemon.service.registry import Registry
from agentcg.daemon.service.state import LiveCall

MIB = 1 << 20
GRANT = Grant(
    memory_high_bytes=100 * MIB, memory_max_bytes=None, cpu_weight=100, pids_max=None,
    source="default", reason="",
)  # fmt: skip


class Leaf:
    """A call's cgroup: it holds `held` MiB and has met its limit `met` times."""

    def __init__(self, held: int = 0) -> None:
        self.id = 7
        self.held, self.met, self.most = held, 1, 500
        self.written: list[tuple[str, Any]] = []
        self.on_write = lambda: None
        self.frozen = False

    def events(self) -> Any:
        return SimpleNamespace(frozen=self.frozen)

    def get(self, knob: Any) -> Any:
        if knob.name == "memory.events":
            return MemoryEvents(0, self.met, 0, 0, 0, None)
        if knob.name == "memory.current":
            return self.held * MIB
        if knob.name == "memory.max":
            return self.most * MIB
        if knob.name == "pids.current":
            return 1
        return MemoryStat(self.held * MIB, 0, 0, 0, None, None)

    def apply(self, limits: Limits) -> None:
        for name in ("memory_high", "memory_max"):
            if (value := getattr(limits, name)) is not None:
                self.written.append((name, value // MIB))
        self.on_write()

    def set_attr(self, name: str, value: bytes) -> None:
        pass


class Watched:
    """Says which calls are armed."""

    def __init__(self) -> None:
        self.armed: list[LiveCall] = []

    def watch_memory(self, _: Leaf, call: LiveCall) -> None:
        self.armed.append(call)

    def rearm(self, call: LiveCall) -> None:
        self.armed.append(call)


class World:
    """1000 MiB, of which `held` are in use, and one call with a lease."""

    def __init__(self, *, held: int, call_held: int, lease: int) -> None:
        self.held, self.asked = held, 0
        self.watcher = Watched()
        self.core: Any = SimpleNamespace(
            root=SimpleNamespace(controllers=frozenset({"memory"})),
            policy=SimpleNamespace(policy=SimpleNamespace(ladder=SimpleNamespace(enabled=True))),
            registry=Registry(), watcher=self.watcher, tuning=TUNING, clock=lambda: 0.0,
            budgets=SimpleNamespace(follow=lambda _: None),
        )  # fmt: skip
        self.own_room: int | None = None
        loads: Any = SimpleNamespace(brief=self.load, own_room=lambda _: self.own_room)
        self.leases = Leases(self.core, loads, enabled=True)
        self.leases.on_asked = self.ask
        self.beyond: list[int] = []
        self.leases.on_beyond_grant = lambda _, size: self.beyond.append(size // MIB)
        self.leaf: Any = Leaf(call_held)
        record = CallRecord(id="c", tool="Bash", category="other", begun_at=0.0, grant=GRANT)
        session: Any = SimpleNamespace(
            record=SimpleNamespace(priority="low"), uid=0, calls={}, calls_running=0, owners=(),
        )  # fmt: skip
        self.call = LiveCall(record, session, self.leaf)
        self.core.registry.calls["c"] = self.call
        self.call.lease_bytes = lease * MIB

    def load(self) -> Load:
        return Load(1000 * MIB, self.held * MIB, self.held * MIB)

    def ask(self) -> None:
        self.asked += 1


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is told: the record of a call is another test's matter."""
    monkeypatch.setattr("agentcg.daemon.service.enforce.leases.audit.leased", lambda *_: None)
    monkeypatch.setattr(Registry, "commit", lambda *_: None)


@pytest.mark.parametrize(
    ("priority", "source", "begins_with"),
    [("high", "declared", 300), ("high", "default", 90), ("low", "declared", 40)],
)
def test_a_declared_need_is_the_first_lease_of_high_priority(
    priority: str, source: str, begins_with: int
) -> None:
    """What is only assumed is not, nor that of others: they ask as they grow."""
    world = World(held=0, call_held=0, lease=0)
    session: Any = SimpleNamespace(record=SimpleNamespace(priority=priority))
    grant = replace(
        GRANT, memory_high_bytes=None, memory_need_bytes=300 * MIB, source=source,
    )  # fmt: skip
    limits, lease = world.leases.first_limits(session, grant)
    assert limits.memory_high == lease
    assert (lease or 0) // MIB == begins_with


def test_with_plenty_a_longer_lease_is_written_at_once() -> None:
    """First the limit that kills, then the one that slows; and the next event is waited for."""
    world = World(held=100, call_held=40, lease=40)
    world.leases.news(world.call)
    (maximum, most), (slow, lease) = world.leaf.written
    assert (maximum, slow, most > lease > 60) == ("memory_max", "memory_high", True)
    assert (world.asked, world.watcher.armed) == (0, [world.call])


def test_a_lease_stays_within_what_its_session_may_have() -> None:
    """However much room the host has."""
    world = World(held=100, call_held=40, lease=40)
    world.own_room = 5 * MIB
    world.leases.news(world.call)
    assert ("memory_high", 45) in world.leaf.written


def test_without_plenty_the_ladder_is_asked() -> None:
    """And the kernel is not heard any more until that is answered."""
    world = World(held=900, call_held=40, lease=40)
    world.leases.news(world.call)
    assert (world.asked, world.call.met, world.watcher.armed) == (1, True, [])
    assert world.leaf.written == []


def test_a_call_that_gave_memory_back_is_held_up_no_more() -> None:
    """It is listened to again."""
    world = World(held=900, call_held=40, lease=40)
    world.leases.news(world.call)
    world.leaf.held = 10
    world.leases.look_at(world.call)
    assert (world.call.met, world.watcher.armed) == (False, [world.call])


def test_news_of_other_kinds_changes_nothing() -> None:
    """`memory.events` counts more than meetings with the lease."""
    world = World(held=900, call_held=40, lease=40)
    world.call.high_events = 1
    world.leases.news(world.call)
    assert (world.asked, world.leaf.written, world.watcher.armed) == (0, [], [world.call])


def test_more_than_the_grant_is_told() -> None:
    """A grant is advice: with room a call gets on, and its grant says so."""
    world = World(held=100, call_held=100, lease=100)
    world.leases.news(world.call)
    assert world.beyond
    assert world.beyond[0] > 150


def test_a_longer_lease_has_the_last_word_over_a_shorter_one() -> None:
    """The one is written by the loop while the other is being written by its thread."""
    leaf: Any = Leaf(held=50)
    leases = [Limits(memory_high=60 * MIB, memory_max=70 * MIB)]

    def longer() -> None:
        leases[:] = [Limits(memory_high=200 * MIB, memory_max=225 * MIB)]

    leaf.on_write = longer
    _shorten(leaf, lambda: leases[0])
    assert leaf.written[0] == ("memory_high", 60)
    assert leaf.written[-2:] == [("memory_high", 200), ("memory_max", 225)]


def test_what_kills_is_not_raised_by_a_shorter_lease() -> None:
    """Somebody counts on what it was."""
    leaf: Any = Leaf(held=100)
    leaf.most = 104
    _shorten(leaf, lambda: Limits(memory_high=60 * MIB, memory_max=76 * MIB))
    assert leaf.written == [("memory_high", 60), ("memory_max", 104)]


def test_a_longer_lease_counts_with_its_ceiling() -> None:
    """At once; a shorter one as soon as the kernel has it."""
    world = World(held=100, call_held=40, lease=40)
    world.leases.lengthen(world.call, 160 * MIB)
    registry = world.core.registry
    assert registry.promised_bytes == registry.reach_bytes == 170 * MIB
    world.call.memory_bytes = 40 * MIB
    world.leases.set(world.call, 60 * MIB)
    assert (registry.promised_bytes, registry.reach_bytes) == (130 * MIB, 170 * MIB)
    world.leaf.most = 68
    world.leases.in_force(world.call)
    assert (registry.promised_bytes, registry.reach_bytes) == (28 * MIB, 68 * MIB)


def test_a_call_that_is_still_takes_nothing() -> None:
    """Paused by the ladder, and the kernel says that none of its processes runs."""
    world = World(held=100, call_held=40, lease=40)
    world.leases.lengthen(world.call, 160 * MIB)
    world.call.step = "frozen"
    world.leases.look_at(world.call)
    assert world.core.registry.promised_bytes == 130 * MIB
    world.leaf.frozen = True
    world.leases.look_at(world.call)
    assert world.core.registry.promised_bytes == 0
    world.leases.goes_on(world.call)
    assert world.core.registry.promised_bytes == 130 * MIB


def test_what_kills_is_never_lowered_to_what_is_held() -> None:
    """A call that grew while its lease was being shortened is slowed and not killed."""
    leaf: Any = Leaf(held=100)
    _shorten(leaf, lambda: Limits(memory_high=60 * MIB, memory_max=76 * MIB))
    assert leaf.written == [("memory_high", 60), ("memory_max", 108)]


def test_where_a_policy_takes_the_ladder_away_the_grant_alone_holds() -> None:
    """Nobody would make a lease longer."""
    world = World(held=100, call_held=40, lease=40)
    assert world.leases.limits(world.call).memory_high == 40 * MIB
    world.core.policy.policy.ladder.enabled = False
    assert world.leases.limits(world.call) == Limits()
