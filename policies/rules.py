# SPDX-License-Identifier: Apache-2.0
"""The policy in force: facts of a session or a call in, its settings out.

Rules are read from top to bottom, files in name order, the built-in default last. For each
setting the first rule that matches and has it decides, as in ssh_config: a site's rule
states only what it wants to be different.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentcg.policies.patterns import Condition
from agentcg.policies.values import Memory

Priority = Literal["high", "normal", "low"]
Source = Literal["policy", "default"]


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it is written."""

    value: Any
    where: str  # file:line
    builtin: bool  # from the built-in default


@dataclass(frozen=True, slots=True)
class Rule:
    """All conditions must hold; then the settings apply. No condition: always."""

    where: str  # file:line
    conditions: Mapping[str, Condition]
    settings: Mapping[str, Setting]

    def matches(self, facts: Mapping[str, Any]) -> bool:
        """Whether every condition holds for `facts`."""
        for name, condition in self.conditions.items():  # noqa: SIM110 - all() costs twice as much
            if not condition.holds(facts[name]):
                return False
        return True


@dataclass(frozen=True, slots=True)
class File:
    """The rules of one file by section."""

    name: str
    sections: Mapping[str, tuple[Rule, ...]]


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What rules can ask about a session. `memory_bytes`: what percentages are of."""

    name: str
    uid: int
    memory_bytes: int  # what all sessions together may use
    user: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    asked_priority: Priority | None = None
    asked_weight: int | None = None  # has it where no rule says otherwise


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What rules can ask about a call. `memory_bytes`: what percentages are of."""

    tool: str
    command: str | None
    category: str
    priority: Priority  # of its session
    memory_bytes: int  # the session's memory_max, or what all sessions may use


@dataclass(frozen=True, slots=True)
class HostRule:
    """Bounds over all sessions; `memory_max` in bytes, None = no bound."""

    memory_max: int | None
    memory_reserve: Memory
    rules: Mapping[str, str]  # setting -> file:line

    def reserve_bytes(self, bound_bytes: int) -> int:
        """Room that admission leaves free where all sessions may use `bound_bytes`.

        The bound in force may be smaller than `memory_max`: it can be lowered at run time.
        """
        return min(self.memory_reserve.of(bound_bytes) or 0, bound_bytes)


@dataclass(frozen=True, slots=True)
class AdmissionRule:
    """Which calls may be made to wait, and how long at most (seconds)."""

    wait: frozenset[str]
    wait_max_s: float
    rules: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SessionRule:
    """What a session gets. Memory in bytes, None = no limit."""

    priority: Priority
    weight: int
    memory_max: int | None
    memory_high: int | None
    memory_low: int
    runtime_memory_low: int
    cpu_weight: int
    pids_max: int | None
    max_calls: int | None
    rule: str | None  # file:line of the rule that decided the limits
    rules: Mapping[str, str]  # setting -> file:line


@dataclass(frozen=True, slots=True)
class CallRule:
    """What a call gets. Memory in bytes, None = no limit (`memory`: not known)."""

    memory: int | None
    memory_margin: float
    memory_high: int | None
    memory_max: int | None
    cpu_weight: int
    pids_max: int | None
    source: Source  # whether memory and memory_high come from a site's rule
    rule: str | None  # file:line of the rule that decided memory_high
    rules: Mapping[str, str]


class _Picked:
    """The deciding setting of each name, with typed access."""

    def __init__(self, rules: Iterable[Rule], facts: Mapping[str, Any]) -> None:
        self.settings: dict[str, Setting] = {}
        for rule in rules:
            if rule.matches(facts):
                for name, setting in rule.settings.items():
                    self.settings.setdefault(name, setting)

    def get(self, name: str, default: Any) -> Any:
        found = self.settings.get(name)
        return default if found is None else found.value

    def memory(self, name: str, whole_bytes: int) -> int | None:
        value: Memory | None = self.get(name, None)
        return None if value is None else value.of(whole_bytes)

    def first(self, *names: str) -> Setting | None:
        return next((self.settings[name] for name in names if name in self.settings), None)

    def where(self, *names: str) -> str | None:
        found = self.first(*names)
        return None if found is None else found.where

    def places(self) -> dict[str, str]:
        return {name: setting.where for name, setting in self.settings.items()}


class Policy:
    """Rules of several files, in the order in which they are asked; never changes."""

    def __init__(self, files: Iterable[File], source: str) -> None:
        kept = tuple(files)
        self.source = source
        """Where it comes from, for people: a directory, or "built-in default"."""
        self.files = tuple(file.name for file in kept)
        self._host = _rules(kept, "host")
        self._sessions = _rules(kept, "sessions")
        self._calls = _rules(kept, "calls")
        picked = _Picked(_rules(kept, "admission"), {})
        self.admission = AdmissionRule(
            frozenset(picked.get("wait", ())), picked.get("wait_max", 0.0), picked.places()
        )
        """Which calls may wait for room."""

    def host(self, memory_total_bytes: int) -> HostRule:
        """Bounds over all sessions on a machine with `memory_total_bytes`."""
        picked = _Picked(self._host, {})
        memory_max = picked.memory("memory_max", memory_total_bytes)
        return HostRule(memory_max, picked.get("memory_reserve", Memory(0)), picked.places())

    def session(self, facts: SessionFacts) -> SessionRule:
        """Settings of a session; linear in the number of rules."""
        known: dict[str, Any] = {
            "name": facts.name,
            "user": facts.user,
            "uid": facts.uid,
            "labels": facts.labels,
            "asked_priority": facts.asked_priority,
            "priority": None,
        }
        # A rule that sets the priority cannot match on it, so this pass is complete.
        given: Priority = _Picked(self._sessions, known).get(
            "priority", facts.asked_priority or "normal"
        )
        picked = _Picked(self._sessions, {**known, "priority": given})
        memory_max = picked.memory("memory_max", facts.memory_bytes)
        memory_high = _at_most(picked.memory("memory_high", facts.memory_bytes), memory_max)
        bound = _at_most(facts.memory_bytes, memory_high, memory_max)
        memory_low = _at_most(picked.memory("memory_low", facts.memory_bytes) or 0, bound)
        runtime_low = picked.memory("runtime_memory_low", facts.memory_bytes) or 0
        return SessionRule(
            priority=given,
            weight=picked.get("weight", facts.asked_weight or 100),
            memory_max=memory_max,
            memory_high=memory_high,
            memory_low=memory_low or 0,
            runtime_memory_low=_at_most(runtime_low, bound) or 0,
            cpu_weight=picked.get("cpu_weight", 100),
            pids_max=picked.get("pids_max", None),
            max_calls=picked.get("max_calls", None),
            rule=picked.where("memory_max", "memory_high", "priority", "cpu_weight"),
            rules=picked.places(),
        )

    def call(self, facts: CallFacts) -> CallRule:
        """Settings of a call; linear in the number of rules."""
        known: dict[str, Any] = {
            "tool": facts.tool,
            "command": facts.command,
            "category": facts.category,
            "priority": facts.priority,
        }
        picked = _Picked(self._calls, known)
        memory_max = picked.memory("memory_max", facts.memory_bytes)
        memory_high = picked.memory("memory_high", facts.memory_bytes)
        deciding = picked.first("memory_high", "memory", "memory_max")
        return CallRule(
            memory=_at_most(picked.memory("memory", facts.memory_bytes), memory_max),
            memory_margin=picked.get("memory_margin", 1.25),
            memory_high=_at_most(memory_high, memory_max),
            memory_max=memory_max,
            cpu_weight=picked.get("cpu_weight", 100),
            pids_max=picked.get("pids_max", None),
            source="default" if deciding is None or deciding.builtin else "policy",
            rule=None if deciding is None else deciding.where,
            rules=picked.places(),
        )


def _rules(files: tuple[File, ...], section: str) -> tuple[Rule, ...]:
    return tuple(rule for file in files for rule in file.sections.get(section, ()))


def _at_most(value: int | None, *bounds: int | None) -> int | None:
    """`value` within `bounds`, where None stands for no limit; no value stays no limit."""
    if value is None:
        return None
    return min(value, *(bound for bound in bounds if bound is not None), value)
