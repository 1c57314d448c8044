# SPDX-License-Identifier: Apache-2.0
"""Who is asked for memory while it waits, on sessions that are data."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from agentcg.cgroups.knobs import CPU_STAT, MEMORY_CURRENT
from agentcg.cgroups.values import MemoryStat
from agentcg.daemon.messages import Intent
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.enforce.idle import IdleWindows
from agentcg.daemon.service.host.hostview import Memory
from agentcg.policies import IdleRule

MIB = 1 << 20
RULE = IdleRule(frozenset({"low", "normal"}), 10.0, 1.0, {})


class Leaf:
    """A cgroup that holds 200M."""

    def __init__(self, name: str) -> None:
        self.path = name

    def get(self, knob: Any) -> Any:
        if knob is MEMORY_CURRENT:
            return 200 * MIB
        if knob is CPU_STAT:
            return SimpleNamespace(usage_us=0)
        return MemoryStat(180 * MIB, 20 * MIB, 0, 0, 0, 0, 0, 0)

    def pressure(self, _: str) -> None:
        return None


class World:
    """Sessions, and what is done to their cgroups instead of doing it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.sessions: dict[str, Any] = {}
        self.done: list[tuple[str, str]] = []
        self.events: list[str] = []
        core = SimpleNamespace(
            registry=SimpleNamespace(sessions=self.sessions), clock=lambda: self.now,
            publish=lambda kind, text, session: self.events.append(session.name),
            policy=SimpleNamespace(policy=SimpleNamespace(idle=RULE)),
        )  # fmt: skip
        monkeypatch.setattr(Memory, "read", lambda: Memory(0, 0, 0, swap_free=1 << 30))
        self.idle = IdleWindows(cast(Core, core))
        monkeypatch.setattr(self.idle, "_do", self._do)

    def _do(self, threads: Any, session: Any, cgroup: Any, act: Any) -> None:
        kind = "back" if threads is self.idle._bringer else "reclaim"
        self.done.append((kind, cgroup.path))

    def session(self, name: str, priority: str, *intents: Intent, phase: str = "thinking") -> Any:
        found = SimpleNamespace(
            name=name, record=SimpleNamespace(priority=priority), closing=False, phase=phase,
            phase_since=0.0, active_at=99.0, runtime=Leaf(name), intents=list(intents), calls={},
        )  # fmt: skip
        self.sessions[name] = module_hashable(found)
        return self.sessions[name]

    def look(self, after_s: float = 1.0) -> list[tuple[str, str]]:
        self.now += after_s
        self.done = []
        self.idle.look(RULE)
        return self.done


def module_hashable(found: SimpleNamespace) -> Any:
    """Sessions are keys by identity."""
    kind = type("Session", (), {"__slots__": ("__dict__",)})
    session = kind()
    session.__dict__.update(vars(found))
    return session


def intent(kind: str, **fields: Any) -> Intent:
    return Intent(id="i", session="s", kind=kind, declared_at=100.0, expires_at=500.0, **fields)  # type: ignore[arg-type]


def test_who_says_that_it_waits_is_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not high priority, not who runs a call, not who has said nothing yet; one event a window."""
    world = World(monkeypatch)
    world.session("declared", "low", intent("generating"))
    world.session("high", "high", intent("generating"))
    world.session("silent", "normal")
    world.session("calling", "low", intent("generating"), phase="calling")
    assert world.look() == [("reclaim", "declared")]
    assert world.look() == [("reclaim", "declared")]
    assert world.events == ["declared"]
    assert ("reclaim", "silent") in world.look(10.0)


def test_leftovers_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an ended call left is asked back before the agent's own."""
    world = World(monkeypatch)
    session = world.session("a", "low", intent("idle"))
    session.calls["c"] = SimpleNamespace(state="lingering", memory_bytes=MIB, cgroup=Leaf("left"))
    assert world.look() == [("reclaim", "left"), ("reclaim", "a")]


def test_it_is_brought_back_ahead_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Announced for 105: at 102 it is still asked for memory, at 104.5 it has it back."""
    world = World(monkeypatch)
    world.session("a", "low", intent("generating", start_in_s=5.0))
    assert world.look(2.0) == [("reclaim", "a")]
    assert world.look(2.5) == [("back", "a")]
    assert world.look(0.5) == []


def test_a_call_that_is_announced_is_not_kept_until_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was taken is asked for at once; once; and of whom nothing was taken there is nothing."""
    world = World(monkeypatch)
    taken = world.session("taken", "low", intent("generating"))
    kept = world.session("kept", "high", intent("generating"))
    world.look()
    world.now, world.done = 105.0, []
    for session in (taken, kept):
        session.intents.append(intent("call", start_in_s=5.5))
        world.idle.announced(session)
        world.idle.announced(session)
    assert world.done == [("back", "taken")]
