# SPDX-License-Identifier: Apache-2.0
"""What makes no sense in a policy as a whole, although each of its rules is right.

`contradictions` are wrong on any machine: the policy is refused. What is hardly meant, or too
much for the machine at hand, is in `doubts`: the policy is taken, with warnings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from agentcg.policies.language import PRIORITIES
from agentcg.policies.mistakes import Mistake
from agentcg.policies.patterns import AnyGlob, Condition, LabelGlobs, OneOf
from agentcg.policies.rules import File, Rule, Setting, deciding, in_section
from agentcg.policies.values import Memory
from agentcg.units import format_size

_STEPS = ("reclaim", "throttle", "freeze", "kill")
_NOT_ABOVE = (
    *((f"{step}_below", f"{step}_until") for step in _STEPS),
    *((f"{later}_below", f"{step}_below") for step, later in pairwise(_STEPS)),
    ("stall_until", "stall_above"),
)
"""Settings of the ladder of which the first is never above the second."""
_WITHIN_BOUND = {
    "host": ("memory_reserve",),
    "users": ("memory_max",),
    "tenants": ("memory_max",),
    "sessions": ("memory_max", "memory_high", "memory_low", "runtime_memory_low"),
    "calls": ("memory", "memory_high", "memory_max"),
}
"""Sizes that are no larger than what all sessions may use, by section."""

_PARTS_MAX = 3
_WILD = re.compile(r"\[[^]]*\]|[*?]")
_NAME_MAX = 63
_NAME_LETTERS = re.compile(r"[A-Za-z0-9_-]*")
_LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}")


@dataclass(frozen=True, slots=True)
class _Bound:
    """What all sessions may use, and how that is said. None: not known, or no bound."""

    size_bytes: int | None
    words: str


def contradictions(files: Iterable[File]) -> list[Mistake]:
    """What several rules together get wrong, each at the setting that is to be changed."""
    kept = tuple(files)
    setting = deciding(kept, "host").get("memory_max")
    size = None if setting is None else setting.value.bytes
    where = "" if setting is None else setting.where
    bound = _Bound(size, f"host.memory_max ({format_size(size)}, {where})")
    found = [*_out_of_order(kept), *_beyond(kept, bound), *_promised(kept, bound)]
    return sorted(found)


def doubts(
    files: Iterable[File],
    memory_total_bytes: int | None = None,
    is_login: Callable[[str], bool] | None = None,
) -> list[Mistake]:
    """Warnings; with `memory_total_bytes` also of what exceeds this machine, with `is_login` of
    users that it does not know."""
    kept = tuple(files)
    found = [*_odd_selectors(kept), *_never_deciding(kept)]
    if memory_total_bytes is not None:
        setting = deciding(kept, "host").get("memory_max")
        bound: Memory = Memory() if setting is None else setting.value
        size = min(bound.of(memory_total_bytes) or memory_total_bytes, memory_total_bytes)
        here = _Bound(size, f"all sessions may use on this machine ({format_size(size)})")
        found += [*_beyond(kept, here), *_promised(kept, here)]
    if is_login is not None:
        found += _strangers(kept, is_login)
    return sorted(replace(mistake, warning=True) for mistake in found)


def _at(setting: Setting, field: str, rule: str) -> Mistake:
    return Mistake(setting.file, *setting.at, field, f"'{setting.text}'", rule)


# --- Rules that contradict each other ---


def _out_of_order(files: tuple[File, ...]) -> Iterator[Mistake]:
    """The ladder's steps; what is to be changed is the site's figure, never the default's."""
    found = deciding(files, "ladder")
    for lower, upper in _NOT_ABOVE:
        if lower in found and upper in found and found[lower].value > found[upper].value:
            low, high = found[lower], found[upper]
            if low.builtin:
                yield _at(high, f"ladder.{upper}", f"less than {lower} ({low.text}, {low.where})")
            else:
                yield _at(low, f"ladder.{lower}", f"more than {upper} ({high.text}, {high.where})")


def _beyond(files: tuple[File, ...], bound: _Bound) -> Iterator[Mistake]:
    """Limits that can never be met, protection that can never be given."""
    if bound.size_bytes is None:
        return
    for section, names in _WITHIN_BOUND.items():
        for rule in in_section(files, section):
            for name in names:
                setting = rule.settings.get(name)
                size = None if setting is None or setting.builtin else setting.value.bytes
                if setting is not None and size is not None and size > bound.size_bytes:
                    yield _at(setting, f"{section}.{name}", f"more than {bound.words}")


def _promised(files: tuple[File, ...], bound: _Bound) -> Iterator[Mistake]:
    """Protection of sessions that are named one by one, which may all be open at once."""
    named: set[str] = set()
    sizes, shares = 0, 0.0
    for rule in in_section(files, "sessions"):
        setting, condition = rule.settings.get("memory_low"), rule.conditions.get("name")
        if setting is None or not isinstance(condition, AnyGlob):
            continue
        names = {glob.text for glob in condition.globs if not _WILD.search(glob.text)} - named
        named |= names
        sizes += len(names) * (setting.value.bytes or 0)
        shares += len(names) * (setting.value.share or 0.0)
        beyond = shares > 1 or (
            bound.size_bytes is not None and sizes + shares * bound.size_bytes > bound.size_bytes
        )
        if beyond:
            most = "more than 100%" if shares > 1 else f"more than {bound.words}"
            rule_text = f"the {len(named)} sessions named up to here are promised {most} together"
            yield _at(setting, "sessions.memory_low", rule_text)
            return


# --- What is hardly meant ---


def _never_deciding(files: tuple[File, ...]) -> Iterator[Mistake]:
    """Settings below a rule of the same file that matches wherever theirs does."""
    for file in files:
        for section, rules in file.sections.items():
            decided: dict[tuple[str, frozenset[object]], Setting] = {}
            for number, rule in enumerate(rules):
                conditions = _hashable(rule)
                for name, setting in rule.settings.items():
                    wider = (decided.get((name, part)) for part in _parts(conditions))
                    first = next((found for found in wider if found is not None), None)
                    if first is not None:
                        why = f"never decides: {first.where} comes first for all that match here"
                        yield _at(setting, f"{section}[{number}].{name}", why)
                    decided.setdefault((name, conditions), setting)


def _hashable(rule: Rule) -> frozenset[object]:
    """The conditions of a rule, to be compared with those of others."""
    return frozenset(
        (name, tuple(each.globs.items()) if isinstance(each, LabelGlobs) else each)
        for name, each in rule.conditions.items()
    )


def _parts(conditions: frozenset[object]) -> Iterator[frozenset[object]]:
    """All of the conditions, and every part of up to three: what a wider rule has."""
    yield conditions
    for size in range(min(len(conditions), _PARTS_MAX + 1)):
        yield from map(frozenset, combinations(conditions, size))


def _strangers(files: tuple[File, ...], is_login: Callable[[str], bool]) -> Iterator[Mistake]:
    """Users who are named one by one and are none on this machine."""
    for section in ("sessions", "users"):
        for rule in in_section(files, section):
            condition = rule.conditions.get("user")
            for glob in condition.globs if isinstance(condition, AnyGlob) else ():
                if not _WILD.search(glob.text) and not is_login(glob.text):
                    file = rule.where.rpartition(":")[0]
                    why = "fits nothing: there is no such user on this machine"
                    at = rule.match_at.get("user", rule.at)
                    yield Mistake(file, *at, f"{section}.match.user", f"'{glob.text}'", why)


def _odd_selectors(files: tuple[File, ...]) -> Iterator[Mistake]:
    for file in files:
        for section, rules in file.sections.items():
            for number, rule in enumerate(rules):
                for name, condition in rule.conditions.items():
                    known = name if section == "sessions" or name != "name" else "tenant"
                    for value, why in _odd(known, condition):
                        field = f"{section}[{number}].match.{name}"
                        at = rule.match_at.get(name, rule.at)
                        yield Mistake(file.name, *at, field, f"'{value}'", why)


def _odd(name: str, condition: Condition) -> Iterator[tuple[str, str]]:
    """Patterns and words that fit everything or nothing, and why."""
    if isinstance(condition, LabelGlobs):
        for key in condition.globs:
            if not _LABEL_KEY.fullmatch(key):
                yield key, "fits nothing: no label can be called so"
    elif isinstance(condition, OneOf):
        if name == "priority" and condition.values >= set(PRIORITIES):
            yield ", ".join(PRIORITIES), "fits everything; leave it out"
    elif isinstance(condition, AnyGlob):
        for glob in condition.globs:
            if why := _odd_pattern(name, glob.text):
                yield glob.text, why


def _odd_pattern(name: str, pattern: str) -> str:
    """Why `pattern` fits every or no fact called `name`; empty if it is as it should be."""
    literal = _WILD.sub("", pattern)
    if name in ("name", "tenant", "tool", "cgroup") and not pattern.strip("*"):
        return "fits everything; leave it out"
    if name == "name" and (len(literal) > _NAME_MAX or not _NAME_LETTERS.fullmatch(literal)):
        return "fits nothing: names have at most 63 letters, digits, _ and -"
    if name == "cgroup" and pattern[0] not in "/*?[":
        return "fits nothing: the path of a cgroup begins with /"
    if name == "unit" and literal == pattern and "." not in pattern:
        return f"fits nothing: a unit's name has a suffix ({pattern}.service)"
    return ""
