# SPDX-License-Identifier: Apache-2.0
"""Which rule decided what: each setting with its value and its place, for given facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentcg.policies.facts import CallFacts, SessionFacts
from agentcg.policies.language import CALLS, SESSIONS, TENANTS, USERS, Key
from agentcg.policies.rules import NO_STEP, STEPS, TENANT_LABEL, Policy
from agentcg.policies.values import MAX, DurationKind, MemoryKind, NameKind
from agentcg.units import format_duration, format_size

ASKED = "asked for"
OWN_LABEL = f"its label {TENANT_LABEL}"


@dataclass(frozen=True, slots=True)
class Decided:
    """A setting, its value for people, and who says so: file:line, or what was asked for."""

    setting: str
    value: str
    where: str


def of_session(policy: Policy, facts: SessionFacts) -> list[Decided]:
    """What a session with these facts gets, and why."""
    settings = policy.deciding(facts)
    rule = policy.session(facts)
    places = {name: setting.where for name, setting in settings.items()}
    written = {name: setting.text for name, setting in settings.items()}
    if "priority" not in places and facts.asked_priority is not None:
        places["priority"] = ASKED
    if "weight" not in places and facts.asked_weight is not None:
        places["weight"] = ASKED
    if "tenant" not in places and rule.tenant is not None:
        places["tenant"] = OWN_LABEL
    return _decided(SESSIONS.settings, rule, places, written)


def of_call(policy: Policy, facts: CallFacts) -> list[Decided]:
    """What a call with these facts gets that declares nothing, and why."""
    settings = policy.deciding(facts)
    places = {name: setting.where for name, setting in settings.items()}
    written = {name: setting.text for name, setting in settings.items()}
    return _decided(CALLS.settings, policy.call(facts), places, written)


def of_user(policy: Policy, facts: SessionFacts) -> list[Decided]:
    """What all sessions of the session's user may have together."""
    rule = policy.user(facts.uid, facts.user, facts.memory_bytes)
    return _decided(USERS.settings, rule, rule.rules, {})


def of_tenant(policy: Policy, facts: SessionFacts) -> list[Decided]:
    """What all sessions of the session's tenant may have together; nothing without one."""
    tenant = policy.session(facts).tenant
    if tenant is None:
        return []
    rule = policy.tenant(tenant, facts.memory_bytes)
    return _decided(TENANTS.settings, rule, rule.rules, {})


def _decided(
    keys: Iterable[Key], rule: object, places: Mapping[str, str], written: Mapping[str, str]
) -> list[Decided]:
    found = []
    for key in keys:
        unit = "_s" if isinstance(key.kind, DurationKind) else ""
        value = _value(key, getattr(rule, key.name + unit))
        if written.get(key.name, "").endswith("%"):
            value = f"{value} ({written[key.name]})"
        found.append(Decided(key.name, value, places.get(key.name, "-")))
    return found


def _value(key: Key, value: Any) -> str:
    if value is None:
        return "-" if isinstance(key.kind, NameKind | DurationKind) else MAX
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, frozenset):
        return ", ".join(step for step in STEPS if step in value) or NO_STEP
    if isinstance(key.kind, MemoryKind):
        return format_size(value)
    if isinstance(key.kind, DurationKind):
        return format_duration(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
