# SPDX-License-Identifier: Apache-2.0
"""A policy as one text: all rules in the order in which they are asked, each with its place.

The text is a policy itself: read again, it decides alike. Sections that are one block show the
settings in force alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from agentcg.policies.language import SECTIONS, VERSION, Key, Section
from agentcg.policies.patterns import AnyGlob, Condition, LabelGlobs, OneOf
from agentcg.policies.rules import Policy, Rule, Setting, deciding, in_section
from agentcg.policies.values import NameKind

_PLACE_COLUMN = 44


def render(policy: Policy) -> str:
    """The rules of `policy` as YAML, with file:line of each as a comment."""
    return "\n".join(_lines(policy)) + "\n"


def _lines(policy: Policy) -> Iterator[str]:
    yield f"version: {VERSION}"
    for section in SECTIONS:
        if not section.rules:
            settings = deciding(policy.ordered, section.name)
            if settings:
                yield from ("", f"{section.name}:")
                yield from _settings(section, settings, "  ")
            continue
        rules = [rule for rule in in_section(policy.ordered, section.name) if rule.settings]
        if rules:
            yield from ("", f"{section.name}:")
        for rule in rules:
            yield from _rule(section, rule)


def _rule(section: Section, rule: Rule) -> Iterator[str]:
    lines = []
    if rule.conditions:
        match = ", ".join(f"{name}: {_match(c)}" for name, c in rule.conditions.items())
        lines.append(_placed(f"match: {{{match}}}", rule.where))
    lines += _settings(section, rule.settings, "")
    yield f"  - {lines[0]}"
    yield from (f"    {line}" for line in lines[1:])


def _settings(section: Section, settings: Mapping[str, Setting], indent: str) -> list[str]:
    return [
        _placed(f"{indent}{key.name}: {_value(key, settings[key.name])}", settings[key.name].where)
        for key in section.settings
        if key.name in settings
    ]


def _placed(text: str, where: str) -> str:
    return f"{text:<{_PLACE_COLUMN}} # {where}"


def _value(key: Key, setting: Setting) -> str:
    return json.dumps(setting.text) if isinstance(key.kind, NameKind) else setting.text


def _match(condition: Condition) -> str:
    if isinstance(condition, LabelGlobs):
        pairs = (f"{json.dumps(key)}: {_text(glob.text)}" for key, glob in condition.globs.items())
        return f"{{{', '.join(pairs)}}}"
    values: list[str] = []
    if isinstance(condition, AnyGlob):
        values = [_text(glob.text) for glob in condition.globs]
    elif isinstance(condition, OneOf):
        values = [str(value) for value in sorted(condition.values)]
    return values[0] if len(values) == 1 else f"[{', '.join(values)}]"


def _text(value: str) -> str:
    """In YAML's double quotes, which JSON's are, too; nothing that a terminal would obey."""
    return json.dumps(value)
