# SPDX-License-Identifier: Apache-2.0
"""The policy in force: facts of a session or a call in, its settings out.

Rules are read from top to bottom, files in name order, the built-in default last. For each
setting the first rule that matches and has it decides, as in ssh_config: a site's rule
states only what it wants to be different.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, get_args

from agentcg.policies.facts import (
    AdmissionRule,
    CallFacts,
    CallRule,
    CapRule,
    HostRule,
    IdleRule,
    LadderRule,
    Priority,
    SessionFacts,
    SessionRule,
    Step,
)
from agentcg.policies.mistakes import Mistake
from agentcg.policies.patterns import Condition
from agentcg.policies.values import Memory

TENANT_LABEL = "tenant"
"""The label that names a session's tenant where no rule does."""
NO_STEP = "none"
SUFFIX = ".yaml"
STEPS: tuple[str, ...] = get_args(Step)
_LEVELS = ("reclaim", "throttle", "freeze", "kill")
_CALL_FACTS = ("tool", "command", "category", "priority")
_ANSWERS_KEPT = 128
"""Answers about calls: two looks at each call that begins, and most calls are of few kinds."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and how and where it is written. `at`: line and column, from 1."""

    value: Any
    where: str  # file:line
    builtin: bool = False  # from the built-in default
    at: tuple[int, int] = (0, 0)
    text: str = ""

    @property
    def file(self) -> str:
        """Name of the file that it is written in."""
        return self.where.rpartition(":")[0]


@dataclass(frozen=True, slots=True)
class Rule:
    """All conditions must hold; then the settings apply. No condition: always."""

    where: str  # file:line
    conditions: Mapping[str, Condition]
    settings: Mapping[str, Setting]
    at: tuple[int, int] = (0, 0)
    match_at: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def matches(self, facts: Mapping[str, Any]) -> bool:
        """Whether every condition holds for `facts`."""
        for name, condition in self.conditions.items():  # noqa: SIM110 - all() costs twice as much
            if not condition.holds(facts[name]):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Extends:
    """A policy that a file extends: one that ships, or (`*.yaml`) a file beside it."""

    name: str
    at: tuple[int, int]  # line and column, from 1

    @property
    def is_file(self) -> bool:
        """Whether it is a file beside the one that names it."""
        return self.name.endswith(SUFFIX)


@dataclass(frozen=True, slots=True)
class File:
    """The rules of one file by section."""

    name: str
    sections: Mapping[str, tuple[Rule, ...]]
    extends: tuple[Extends, ...] = ()
    shipped: bool = False
    text: str = ""

    @property
    def key(self) -> str:
        """What tells it from every other file, also from one that ships under its name."""
        return f"shipped {self.name}" if self.shipped else self.name


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

    def __init__(
        self, files: Iterable[File], source: str, warnings: Iterable[Mistake] = ()
    ) -> None:
        self.ordered = kept = tuple(files)
        """The files, in the order in which their rules are asked."""
        self.source = source
        """Where it comes from, for people: a directory, or "built-in default"."""
        self.warnings = tuple(warnings)
        """What is allowed but hardly meant, or too much for this machine."""
        self.files = tuple(file.name for file in kept)
        self._host = in_section(kept, "host")
        self._sessions = in_section(kept, "sessions")
        self._calls = in_section(kept, "calls")
        asked = {name for rule in self._calls for name in rule.conditions}
        self._asked_of_calls = tuple(name for name in _CALL_FACTS if name in asked)
        self._call = lru_cache(_ANSWERS_KEPT)(self._find_call)
        self._users = in_section(kept, "users")
        self._tenants = in_section(kept, "tenants")
        self.ladder = _ladder(_Picked(in_section(kept, "ladder"), {}))
        """What is done under pressure."""
        picked = _Picked(in_section(kept, "admission"), {})
        self.admission = AdmissionRule(
            frozenset(picked.get("wait", ())),
            picked.get("wait_max", 0.0),
            picked.get("reserve_max", 0.0),
            picked.get("by", "peaks"),
            min(picked.get("risk", 0.01), 0.5),
            picked.get("overtake_max", 0.0),
            picked.places(),
        )
        """Which calls may wait for room."""
        picked = _Picked(in_section(kept, "idle"), {})
        self.idle = IdleRule(
            frozenset(picked.get("reclaim", ())) - {NO_STEP},
            picked.get("after", 10.0),
            picked.get("ahead", 1.0),
            picked.places(),
        )
        """From whom memory is asked back while it waits."""

    def asks_for(self, section: str, setting: str) -> bool:
        """Whether a rule other than the built-in default's sets `setting`."""
        return any(
            setting in rule.settings and not rule.settings[setting].builtin
            for file in self.ordered
            for rule in file.sections.get(section, ())
        )

    def host(self, memory_total_bytes: int) -> HostRule:
        """Bounds over all sessions on a machine with `memory_total_bytes`."""
        picked = _Picked(self._host, {})
        memory_max = picked.memory("memory_max", memory_total_bytes)
        return HostRule(memory_max, picked.get("memory_reserve", Memory(0)), picked.places())

    def session(self, facts: SessionFacts) -> SessionRule:
        """Settings of a session; linear in the number of rules."""
        given, picked = self._of_session(facts)
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
            cpu_max=picked.get("cpu_max", None),
            io_weight=picked.get("io_weight", 100),
            pids_max=picked.get("pids_max", None),
            max_calls=picked.get("max_calls", None),
            steps=frozenset(picked.get("steps", STEPS)) - {NO_STEP},
            tenant=picked.get("tenant", facts.labels.get(TENANT_LABEL)),
            adopt=picked.get("adopt", False),
            rule=picked.where("memory_max", "memory_high", "priority", "cpu_weight"),
            rules=picked.places(),
        )

    def _of_session(self, facts: SessionFacts) -> tuple[Priority, _Picked]:
        known: dict[str, Any] = {
            "name": facts.name,
            "user": facts.user,
            "uid": facts.uid,
            "labels": facts.labels,
            "container": facts.container,
            "image": facts.image,
            "cgroup": facts.cgroup,
            "unit": facts.unit,
            "asked_priority": facts.asked_priority,
            "priority": None,
        }
        # A rule that sets the priority cannot match on it, so this pass is complete.
        given: Priority = _Picked(self._sessions, known).get(
            "priority", facts.asked_priority or "normal"
        )
        return given, _Picked(self._sessions, {**known, "priority": given})

    def call(self, facts: CallFacts) -> CallRule:
        """Settings of a call; linear in the number of rules, once for what they ask about."""
        asked = tuple([getattr(facts, name) for name in self._asked_of_calls])
        return self._call(asked, facts.memory_bytes)

    def _find_call(self, asked: tuple[Any, ...], memory_bytes: int) -> CallRule:
        known = dict(zip(self._asked_of_calls, asked, strict=True))
        picked = _Picked(self._calls, known)
        memory_max = picked.memory("memory_max", memory_bytes)
        memory_high = picked.memory("memory_high", memory_bytes)
        deciding = picked.first("memory_high", "memory", "memory_max")
        return CallRule(
            memory=_at_most(picked.memory("memory", memory_bytes), memory_max),
            memory_margin=picked.get("memory_margin", 1.25),
            memory_high=_at_most(memory_high, memory_max),
            memory_max=memory_max,
            cpu_weight=picked.get("cpu_weight", 100),
            pids_max=picked.get("pids_max", None),
            linger_max_s=picked.get("linger_max", None),
            source="default" if deciding is None or deciding.builtin else "policy",
            rule=None if deciding is None else deciding.where,
            rules=picked.places(),
        )

    def deciding(self, facts: SessionFacts | CallFacts) -> Mapping[str, Setting]:
        """The setting of each name that decides for `facts`, as it is written."""
        if isinstance(facts, CallFacts):
            known = {name: getattr(facts, name) for name in _CALL_FACTS}
            return _Picked(self._calls, known).settings
        return self._of_session(facts)[1].settings

    def user(self, uid: int, user: str | None, memory_bytes: int) -> CapRule:
        """What all sessions of a user may have; percentages are of `memory_bytes`."""
        return _cap(_Picked(self._users, {"uid": uid, "user": user}), memory_bytes)

    def tenant(self, name: str, memory_bytes: int) -> CapRule:
        """What all sessions of a tenant may have; percentages are of `memory_bytes`."""
        return _cap(_Picked(self._tenants, {"name": name}), memory_bytes)


def _cap(picked: _Picked, memory_bytes: int) -> CapRule:
    return CapRule(
        weight=picked.get("weight", 100),
        memory_max=picked.memory("memory_max", memory_bytes),
        pids_max=picked.get("pids_max", None),
        max_calls=picked.get("max_calls", None),
        rules=picked.places(),
    )


def _ladder(picked: _Picked) -> LadderRule:
    """The built-in default has every key, so that no number is written twice."""
    value = {name: setting.value for name, setting in picked.settings.items()}
    reclaim, throttle, freeze, kill = (value[f"{level}_below"] for level in _LEVELS)
    reclaimed, throttled, frozen, killed = (value[f"{level}_until"] for level in _LEVELS)
    return LadderRule(
        enabled=value["enabled"],
        enter=(reclaim, throttle, freeze, kill),
        leave=(reclaimed, throttled, frozen, killed),
        stall_enter_percent=100 * value["stall_above"],
        stall_leave_percent=100 * value["stall_until"],
        throttle_stuck_s=value["throttle_stuck"],
        throttle_max_s=value["throttle_max"],
        freeze_max_s=value["freeze_max"],
        hold_s=value["hold"],
        settle_s=value["settle"],
        rules=picked.places(),
    )


def in_section(files: Iterable[File], section: str) -> tuple[Rule, ...]:
    """The rules of a section, in the order in which they are asked."""
    return tuple(rule for file in files for rule in file.sections.get(section, ()))


def deciding(files: Iterable[File], section: str) -> dict[str, Setting]:
    """The settings in force of a section that is one block."""
    return _Picked(in_section(files, section), {}).settings


def _at_most(value: int | None, *bounds: int | None) -> int | None:
    """`value` within `bounds`, where None stands for no limit; no value stays no limit."""
    if value is None:
        return None
    return min(value, *(bound for bound in bounds if bound is not None), value)
