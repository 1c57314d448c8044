# SPDX-License-Identifier: Apache-2.0
"""Signatures of clients from YAML, checked; every mistake with its position.

The shipped files are read first; a file of the same name in a site's directory replaces one. A
single mistake in any file of the site refuses them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import cast

import yaml

from agentcg.errors import PolicyError
from agentcg.policies.mistakes import Mistake, Mistakes, refuse, suggestion
from agentcg.policies.patterns import Glob
from agentcg.policies.reader import decode, position, read
from agentcg.policies.signatures import (
    APART,
    JOBS,
    ROLES,
    Apart,
    Between,
    Client,
    Jobs,
    ProcessRule,
    Role,
    Signatures,
    When,
    Words,
)
from agentcg.policies.values import DurationKind, GlobKind

VERSION = "1"
LIST_MAX = 64
RULES_MAX = 200
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{6,63}")
_TOP = ("version", "client", "agent", "call_id", "processes")
_RULE = ("role", "when", "tool", "command", "jobs", "apart", "gap")
_WHEN = ("comm", "program", "argv", "environment", "leads_session")


def load_signatures(directory: Path | None = None) -> Signatures:
    """Shipped signatures, and those of `directory` over them. Raises PolicyError."""
    clients = {client.name: client for client in _shipped()}
    mistakes: list[Mistake] = []
    for path in _names(directory) if directory is not None else ():
        try:
            data = path.read_bytes()
        except OSError as error:
            raise PolicyError(f"{path}: {error.strerror}") from error
        client, wrong = parse_client(data, path.name)
        mistakes += wrong
        if client is not None:
            clients[client.name] = client
    refuse(mistakes)
    return Signatures(clients.values())


def parse_client(text: bytes, name: str) -> tuple[Client | None, list[Mistake]]:
    """The client that a file describes, and every mistake; with mistakes there is no client."""
    mistakes = Mistakes(name)
    decoded = decode(text, mistakes)
    node = None if decoded is None else read(decoded, mistakes)
    client = None if node is None else _Checker(mistakes).client(node)
    if node is None and not mistakes.found:
        mistakes.add((0, 0), "", None, "the file is empty: a signature has version and client")
    found = mistakes.all()
    return (None if found else client), found


def _shipped() -> Iterator[Client]:
    folder = resources.files(__package__) / "clients"
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            client, mistakes = parse_client(entry.read_bytes(), entry.name)
            refuse(mistakes)
            if client is not None:
                yield client


def _names(directory: Path) -> list[Path]:
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".yaml")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PolicyError(f"{directory}: {error.strerror}") from error
    return [path for path in paths if not path.name.startswith(".")]


class _Checker:
    """One walk over one file."""

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes

    def _wrong(self, node: yaml.Node, field: str, rule: str) -> None:
        value = node.value if isinstance(node, yaml.ScalarNode) else None
        self._mistakes.add(position(node.start_mark), field, value, rule)

    def client(self, node: yaml.Node) -> Client:
        top = self._mapping(node, "", _TOP)
        version = top.get("version")
        if version is None:
            self._wrong(node, "version", f"missing: begin the file with 'version: {VERSION}'")
        elif version.value != VERSION:
            self._wrong(version, "version", f"this agentcg reads version {VERSION}")
        name = self._word(top.get("client"), "client", node)
        if name and _NAME.fullmatch(name) is None:
            self._wrong(top["client"], "client", "lower-case letters, digits and -")
        call_id = self._word(top.get("call_id"), "call_id") or None
        if call_id and _VARIABLE.fullmatch(call_id) is None:
            self._wrong(top["call_id"], "call_id", "name of a variable, 7 to 64 characters")
        agents = [
            self._when(each, f"agent[{index}]")
            for index, each in enumerate(self._list(top.get("agent"), "agent"))
        ]
        rules = [
            self._rule(each, f"processes[{index}]")
            for index, each in enumerate(self._list(top.get("processes"), "processes"))
        ]
        return Client(name, tuple(agents), tuple(rules), call_id)

    def _rule(self, node: yaml.Node, field: str) -> ProcessRule:
        keys = self._mapping(node, field, _RULE)
        role = self._one_of(keys.get("role"), f"{field}.role", ROLES, node)
        when = self._when(keys["when"], f"{field}.when") if "when" in keys else When()
        jobs = self._one_of(keys.get("jobs"), f"{field}.jobs", JOBS) or "group"
        apart = self._one_of(keys.get("apart"), f"{field}.apart", APART) or "time"
        gap_s = 0.5
        if "gap" in keys:
            try:
                gap_s = DurationKind(60).parse(self._word(keys["gap"], f"{field}.gap"))
            except ValueError:
                self._wrong(keys["gap"], f"{field}.gap", DurationKind(60).rule)
        return ProcessRule(
            cast("Role", role or "helper"),
            when,
            f"{self._mistakes.file}:{node.start_mark.line + 1}",
            tool=self._word(keys.get("tool"), f"{field}.tool") or "shell",
            command=self._between(keys["command"], f"{field}.command")
            if "command" in keys
            else None,
            jobs=cast("Jobs", jobs),
            apart=cast("Apart", apart),
            gap_s=gap_s,
        )

    def _between(self, node: yaml.Node, field: str) -> Between:
        keys = self._mapping(node, field, ("after", "before"))
        after = self._word(keys.get("after"), f"{field}.after", node)
        return Between(after, self._word(keys.get("before"), f"{field}.before"))

    def _when(self, node: yaml.Node, field: str) -> When:
        keys = self._mapping(node, field, _WHEN)
        words = {
            name: self._words(keys[name], f"{field}.{name}")
            for name in ("comm", "program", "argv")
            if name in keys
        }
        environment: dict[str, Words] = {}
        if "environment" in keys:
            for name, value in self._mapping(
                keys["environment"], f"{field}.environment", None
            ).items():
                if _VARIABLE.fullmatch(name) is None:
                    self._wrong(value, f"{field}.environment", "a name of 7 to 64 characters")
                environment[name] = self._words(value, f"{field}.environment.{name}")
        leads = None
        if "leads_session" in keys:
            leads = self._one_of(keys["leads_session"], f"{field}.leads_session", ("true", "false"))
        return When(
            words.get("comm"), words.get("program"), words.get("argv"), environment,
            None if not leads else leads == "true",
        )  # fmt: skip

    def _words(self, node: yaml.Node, field: str) -> Words:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not 0 < len(nodes) <= LIST_MAX:
            self._wrong(node, field, f"a list of 1 to {LIST_MAX} patterns")
        wanted: list[Glob] = []
        unwanted: list[Glob] = []
        for each in nodes[:LIST_MAX]:
            text = self._word(each, field)
            try:
                glob = GlobKind().parse(text.removeprefix("!"))
            except ValueError:
                self._wrong(each, field, GlobKind().rule)
                continue
            (unwanted if text.startswith("!") else wanted).append(glob)
        return Words(tuple(wanted), tuple(unwanted))

    def _mapping(
        self, node: yaml.Node, field: str, known: tuple[str, ...] | None
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, field, "must be a mapping (key: value lines)")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if not name or name in found or (known is not None and name not in known):
                rule = "given twice" if name in found else "unknown key"
                hint = "" if known is None else suggestion(name, known) or f"; known: {known}"
                self._wrong(key, field, rule + hint)
            else:
                found[name] = value
        return found

    def _list(self, node: yaml.Node | None, field: str) -> list[yaml.Node]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode) or len(node.value) > RULES_MAX:
            self._wrong(node, field, f"a list of at most {RULES_MAX} (lines that begin with -)")
            return []
        return list(node.value)

    def _word(self, node: yaml.Node | None, field: str, parent: yaml.Node | None = None) -> str:
        """Text of a value; with `parent` it must be there."""
        if node is None:
            if parent is not None:
                self._wrong(parent, field, "missing")
            return ""
        if not isinstance(node, yaml.ScalarNode) or not 0 < len(node.value) <= 256:
            self._wrong(node, field, "must be one value of 1 to 256 characters")
            return ""
        return str(node.value)

    def _one_of(
        self,
        node: yaml.Node | None,
        field: str,
        words: tuple[str, ...],
        parent: yaml.Node | None = None,
    ) -> str:
        text = self._word(node, field, parent)
        if node is not None and text and text not in words:
            self._wrong(node, field, f"one of {', '.join(words)}{suggestion(text, words)}")
            return ""
        return text
