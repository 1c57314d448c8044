# SPDX-License-Identifier: Apache-2.0
"""YAML nodes to rules, checked against the language; every mistake with its position."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from agentcg.policies.language import (
    DEFAULT_NAME,
    EXTENDS_MAX,
    FILE_PATTERN,
    LABELS_MAX,
    LIST_MAX,
    RULES_MAX,
    SECTIONS,
    SHIPPED,
    VERSION,
    Key,
    Section,
)
from agentcg.policies.mistakes import Mistake, Mistakes, suggestion
from agentcg.policies.patterns import AnyGlob, Condition, Glob, LabelGlobs, OneOf
from agentcg.policies.reader import decode, position, read
from agentcg.policies.rules import NO_STEP, Extends, File, Rule, Setting
from agentcg.policies.values import GlobKind, Memory, SwitchKind

_MISREAD = {
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:timestamp": "a date",
}
# What a rule contradicts itself with: the first above the second.
_AT_MOST = (
    ("reclaim_below", "reclaim_until"),
    ("throttle_below", "throttle_until"),
    ("freeze_below", "freeze_until"),
    ("kill_below", "kill_until"),
    ("stall_until", "stall_above"),
    ("throttle_stuck", "throttle_max"),
    ("memory_low", "memory_high"),
    ("memory_low", "memory_max"),
    ("runtime_memory_low", "memory_high"),
    ("runtime_memory_low", "memory_max"),
    ("memory", "memory_high"),
    ("memory", "memory_max"),
    ("memory_high", "memory_max"),
    ("memory_reserve", "memory_max"),
)


def check_text(text: str | bytes, name: str) -> list[Mistake]:
    """Every mistake of a policy file's `text`, in file order; `name` is its name in them."""
    return parse(text, name)[1]


def parse(text: str | bytes, name: str, *, builtin: bool = False) -> tuple[File, list[Mistake]]:
    """The rules of one file and its mistakes; with mistakes the rules are not to be used."""
    mistakes = Mistakes(name)
    checker = _Checker(mistakes, builtin)
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    decoded = decode(data, mistakes)
    node = None if decoded is None else read(decoded, mistakes)
    if node is None or _empty(node):
        return File(name, {}, text=decoded or ""), mistakes.all()
    extends, sections = checker.document(node)
    return File(name, sections, extends, text=decoded or ""), mistakes.all()


class _Checker:
    """One walk over one document."""

    def __init__(self, mistakes: Mistakes, builtin: bool) -> None:
        self.mistakes = mistakes
        self.builtin = builtin

    def wrong(self, node: yaml.Node, field: str, rule: str) -> None:
        value = node.value if isinstance(node, yaml.ScalarNode) else None
        self.mistakes.add(position(node.start_mark), field, value, rule)

    def line(self, node: yaml.Node) -> str:
        return f"{self.mistakes.file}:{node.start_mark.line + 1}"

    def document(self, node: yaml.Node) -> tuple[tuple[Extends, ...], dict[str, tuple[Rule, ...]]]:
        """What it extends, and the rules of each section; a section that is one block is one
        rule without a match."""
        known = ("version", "extends", *(section.name for section in SECTIONS))
        blocks = dict(self.mapping(node, "", known))
        self.version(node, blocks.get("version"))
        extends = self.extends(blocks["extends"]) if "extends" in blocks else ()
        rules = {}
        for section in SECTIONS:
            block = blocks.get(section.name)
            if block is None or _empty(block):
                continue
            if section.rules:
                rules[section.name] = tuple(self.rule_list(section, block))
            else:
                rules[section.name] = (self.rule(section, block, section.name),)
        return extends, rules

    def extends(self, node: yaml.Node) -> tuple[Extends, ...]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not 0 < len(nodes) <= EXTENDS_MAX:
            self.wrong(node, "extends", f"a list of 1 to {EXTENDS_MAX} policies")
            return ()
        found = []
        for each in nodes:
            name = each.value if isinstance(each, yaml.ScalarNode) else ""
            if name in SHIPPED or re.fullmatch(FILE_PATTERN, name):
                found.append(Extends(name, position(each.start_mark)))
            elif name == DEFAULT_NAME:
                self.wrong(each, "extends", "the built-in default is underneath every policy")
            else:
                rule = f"one of {', '.join(SHIPPED)}, or a file beside this one (NAME.yaml)"
                self.wrong(each, "extends", rule + suggestion(name, SHIPPED))
        return tuple(found)

    def version(self, document: yaml.Node, given: yaml.Node | None) -> None:
        if given is not None:
            if not _is_version(given):
                self.wrong(given, "version", f"this agentcg reads version {VERSION} (no quotes)")
        elif isinstance(document, yaml.MappingNode):
            self.wrong(document, "version", f"missing: begin the file with 'version: {VERSION}'")

    def mapping(
        self, node: yaml.Node, field: str, known: tuple[str, ...] | None
    ) -> Iterator[tuple[str, yaml.Node]]:
        """Keys and values; unknown (None: any is known) and repeated keys are mistakes."""
        if not isinstance(node, yaml.MappingNode):
            rule = "must be a mapping (key: value lines)"
            if known is not None:
                rule += f" with any of {', '.join(known)}"
            self.wrong(node, field, rule)
            return
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.wrong(key, field, "a key must be a word")
                continue
            path = f"{field}.{_shown(key.value)}" if field else _shown(key.value)
            if known is not None and key.value not in known:
                hint = "" if self.mistakes.full else _known(key.value, known)
                self.mistakes.add(position(key.start_mark), path, None, f"unknown key{hint}")
            elif key.value in seen:
                rule = f"given twice; first in line {seen[key.value]}"
                self.mistakes.add(position(key.start_mark), path, None, rule)
            else:
                seen[key.value] = key.start_mark.line + 1
                yield key.value, value

    def rule_list(self, section: Section, node: yaml.Node) -> Iterator[Rule]:
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(node, section.name, "must be a list of rules (lines that begin with -)")
            return
        if len(node.value) > RULES_MAX:
            self.wrong(node, section.name, f"at most {RULES_MAX} rules")
        for index, item in enumerate(node.value[:RULES_MAX]):
            yield self.rule(section, item, f"{section.name}[{index}]")

    def rule(self, section: Section, node: yaml.Node, field: str) -> Rule:
        keys = {key.name: key for key in section.settings}
        known = ("match", *keys) if section.rules else tuple(keys)
        conditions: dict[str, Condition] = {}
        match_at: dict[str, tuple[int, int]] = {}
        settings: dict[str, Setting] = {}
        nodes: dict[str, yaml.Node] = {}
        for name, value in self.mapping(node, field, known):
            if name == "match":
                conditions, match_at = self.match(section, value, f"{field}.match")
                continue
            nodes[name] = value
            parsed = self.value(keys[name], value, f"{field}.{name}")
            if parsed is not None:
                settings[name] = self.setting(parsed[0], value)
        self.contradictions(section, field, conditions, settings, nodes)
        return Rule(self.line(node), conditions, settings, position(node.start_mark), match_at)

    def setting(self, value: Any, node: yaml.Node) -> Setting:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        words = ", ".join(str(each.value) for each in nodes)
        text = f"[{words}]" if isinstance(node, yaml.SequenceNode) else words
        return Setting(value, self.line(node), self.builtin, position(node.start_mark), text)

    def match(
        self, section: Section, node: yaml.Node, field: str
    ) -> tuple[dict[str, Condition], dict[str, tuple[int, int]]]:
        """The conditions, and where each of them stands."""
        keys = {key.name: key for key in section.match}
        known = (*keys, "labels") if section.labels else tuple(keys)
        conditions: dict[str, Condition] = {}
        places: dict[str, tuple[int, int]] = {}
        if _empty(node):
            return conditions, places
        for name, value in self.mapping(node, field, known):
            places[name] = position(value.start_mark)
            if name == "labels":
                conditions[name] = self.labels(value, f"{field}.labels")
                continue
            parsed = self.value(keys[name], value, f"{field}.{name}")
            if parsed is not None:
                globs = isinstance(keys[name].kind, GlobKind)
                conditions[name] = AnyGlob(parsed[0]) if globs else OneOf(frozenset(parsed[0]))
        return conditions, places

    def labels(self, node: yaml.Node, field: str) -> LabelGlobs:
        globs: dict[str, Glob] = {}
        key = Key("labels", GlobKind(), "")
        for name, value in self.mapping(node, field, None):
            parsed = self.scalar(key, value, f"{field}.{_shown(name)}")
            if parsed is not None:
                globs[name] = parsed[0]
        if isinstance(node, yaml.MappingNode) and not 0 < len(node.value) <= LABELS_MAX:
            self.wrong(node, field, f"1 to {LABELS_MAX} labels")
        return LabelGlobs(globs)

    def value(self, key: Key, node: yaml.Node, field: str) -> tuple[Any] | None:
        """The parsed value in a 1-tuple (a tuple of values for `many`); None: a mistake."""
        if not key.many:
            return self.scalar(key, node, field)
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not 0 < len(nodes) <= LIST_MAX:
            self.wrong(node, field, f"a list of 1 to {LIST_MAX} values")
            return None
        parsed = [self.scalar(key, each, field) for each in nodes]
        if None in parsed:
            return None
        return (tuple(each[0] for each in parsed if each is not None),)

    def scalar(self, key: Key, node: yaml.Node, field: str) -> tuple[Any] | None:
        if not isinstance(node, yaml.ScalarNode):
            self.wrong(node, field, f"must be one value: {key.kind.rule}")
        elif _empty(node):
            self.wrong(node, field, f"has no value: {key.kind.rule}")
        elif _plain(node) and node.tag in _MISREAD and not _is_meant(key, node):
            read_as = _MISREAD[node.tag]
            self.wrong(node, field, f"YAML reads this as {read_as}; {key.kind.rule}")
        elif not _plain(node) and key.kind.plain and node.value != "max":
            self.wrong(node, field, f"{key.kind.rule}, without quotes")
        else:
            try:
                return (key.kind.parse(node.value),)
            except ValueError as error:
                self.wrong(node, field, str(error) or key.kind.rule)
        return None

    def contradictions(
        self,
        section: Section,
        field: str,
        conditions: dict[str, Condition],
        settings: dict[str, Setting],
        nodes: dict[str, yaml.Node],
    ) -> None:
        """What is wrong with a rule although each of its values is right."""
        same_whole = section.name != "host"  # its shares are of different wholes
        for lower, upper in _AT_MOST:
            both = lower in settings and upper in settings
            if both and _exceeds(settings[lower].value, settings[upper].value, same_whole):
                rule = f"more than {upper} ({nodes[upper].value}) of the same rule"
                self.wrong(nodes[lower], f"{field}.{lower}", rule)
        if section.name == "sessions" and "priority" in settings and "priority" in conditions:
            rule = "a rule that sets the priority matches on asked_priority, not on priority"
            self.wrong(nodes["priority"], f"{field}.priority", rule)
        steps = getattr(settings.get("steps"), "value", ())
        if NO_STEP in steps and len(steps) > 1:
            self.wrong(nodes["steps"], f"{field}.steps", f"{NO_STEP} stands alone")
        if section.name == "admission" and "high" in getattr(settings.get("wait"), "value", ()):
            self.wrong(nodes["wait"], f"{field}.wait", "calls of high priority never wait")


def _exceeds(low: Any, high: Any, same_whole: bool) -> bool:
    """Whether `low` is above `high` on any machine; a size and a share do not compare."""
    if not isinstance(low, Memory) or not isinstance(high, Memory):
        return bool(low > high)
    if low.bytes is not None and high.bytes is not None:
        return low.bytes > high.bytes
    if low.share is None or high.share is None:
        return False
    return same_whole and low.share > high.share


def _is_meant(key: Key, node: yaml.ScalarNode) -> bool:
    """Whether a boolean stands where one is asked for."""
    return isinstance(key.kind, SwitchKind) and node.tag.endswith(":bool")


def _known(word: str, known: tuple[str, ...]) -> str:
    return suggestion(word, known) or f"; known here: {', '.join(known)}"


def _shown(key: str) -> str:
    """A key in a path: bounded, and safe for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in key[:64])


def _is_version(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and _plain(node) and node.value == str(VERSION)


def _empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and _plain(node) and node.value == ""


def _plain(node: yaml.ScalarNode) -> bool:
    """Whether the value stands there without quotes (libyaml says "", PyYAML None)."""
    return not node.style
