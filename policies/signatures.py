# SPDX-License-Identifier: Apache-2.0
"""Signatures of clients: by what a process of an agent is told to be a call, a hook, a helper ...

    signatures = load_signatures(Path("/etc/agentcg/clients.d"))     # all or nothing
    signatures.agent(facts)             # the client whose agent this process is, or None
    client.judge(facts)                 # the first rule that fits a process of that agent

One YAML file describes one client (docs/clients.md has the language); those in `clients/` ship
with agentcg, one of a site replaces the shipped one of the same name. A file is data and decides
about processes *within* a session only: who a session belongs to is the kernel's word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

from agentcg.policies.patterns import Glob

Role = Literal["call", "hook", "helper", "mcp", "shell", "mark", "end", "pass"]
"""call: a tool call begins. shell: a persistent shell, whose jobs are calls. mark: tells that the
next jobs of a shell are another call. end: that they are none. mcp: a server of tools. hook,
helper: the agent's own. pass: judge its children as if they were the agent's."""
Jobs = Literal["group", "all"]
"""Which children of a persistent shell are jobs: those in a process group of their own, or all."""

Apart = Literal["time", "mark"]
"""What tells the calls of a persistent shell apart: a pause between jobs, or a mark."""

ROLES: tuple[str, ...] = get_args(Role)
JOBS: tuple[str, ...] = get_args(Jobs)
APART: tuple[str, ...] = get_args(Apart)
_BEGINNINGS: frozenset[Role] = frozenset(("call", "mcp", "shell", "mark", "end"))
"""Roles of programs that somebody has to hear of at once; of a server of tools, which stays, only
where its name can be told beforehand."""
NAME_PREFIX = 8
"""Characters by which the kernel tells names of programs apart."""
GENERIC = "generic"
"""The client that is assumed where no signature fits."""


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What rules can ask about a process that has executed a program."""

    comm: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    leads_session: bool = False  # setsid(2): sid == pid

    @property
    def line(self) -> str:
        """The arguments with single blanks between them."""
        return " ".join(self.argv)


@dataclass(frozen=True)
class Words:
    """Patterns of which one has to fit, and none of those after "!"."""

    wanted: tuple[Glob, ...]
    unwanted: tuple[Glob, ...] = ()

    def fit(self, text: str) -> bool:
        """Whether `text` fits."""
        return self._regex.match(text) is not None

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        """All in one: rules of every client are asked for each program that an agent executes."""
        wanted = "|".join(glob.regex.pattern for glob in self.wanted)
        unwanted = "|".join(glob.regex.pattern for glob in self.unwanted)
        return re.compile(f"(?!{unwanted})(?:{wanted})" if unwanted else wanted)

    @property
    def beginnings(self) -> frozenset[str] | None:
        """The first `NAME_PREFIX` characters of all that fits; None where nobody can say."""
        if not self.wanted:
            return None
        found = {glob.beginning(NAME_PREFIX) for glob in self.wanted}
        return frozenset(each for each in found if each is not None) if None not in found else None


@dataclass(frozen=True, slots=True)
class When:
    """Conditions on a process; all that are given must hold."""

    comm: Words | None = None
    program: Words | None = None  # argv[0]
    argv: Words | None = None  # all arguments, with blanks between them
    environment: Mapping[str, Words] = field(default_factory=dict)
    leads_session: bool | None = None

    def holds(self, facts: ProcessFacts) -> bool:
        """Whether `facts` are those asked for; a variable that is not set fits nothing."""
        program = facts.argv[0] if facts.argv else ""
        return (
            (self.comm is None or self.comm.fit(facts.comm))
            and (self.program is None or self.program.fit(program))
            and (self.argv is None or self.argv.fit(facts.line))
            and (self.leads_session is None or self.leads_session == facts.leads_session)
            and all(
                name in facts.environment and words.fit(facts.environment[name])
                for name, words in self.environment.items()
            )
        )


@dataclass(frozen=True, slots=True)
class Between:
    """Where a command stands in a line: after the first `after` and before the last `before`."""

    after: str
    before: str = ""

    def cut(self, line: str) -> str | None:
        """The part of `line`, or None where the marks are not in it."""
        _, found, rest = line.partition(self.after)
        if not found:
            return None
        if self.before:
            head, found, _ = rest.rpartition(self.before)
            return (head if found else rest).strip() or None
        return rest.strip() or None


@dataclass(frozen=True, slots=True)
class ProcessRule:
    """What a process is, if `when` holds."""

    role: Role
    when: When
    where: str  # file:line
    tool: str = "shell"
    command: Between | None = None
    jobs: Jobs = "group"
    apart: Apart = "time"
    gap_s: float = 0.5
    """Apart by time: jobs that are no further apart are one call."""


@dataclass(frozen=True, slots=True)
class Client:
    """The signature of one client."""

    name: str
    agents: tuple[When, ...]
    rules: tuple[ProcessRule, ...]
    call_id: str | None = None
    """Variable of the environment that carries the client's own id of the call."""

    @property
    def begins_with(self) -> frozenset[str] | None:
        """Names of programs that may begin a call, a server of tools or a shell, as
        `Words.beginnings`; None: any may begin a call. What a variable tells is left out."""
        found: set[str] = set()
        for rule in self.rules:
            if rule.role in _BEGINNINGS and not rule.when.environment:
                names = None if rule.when.comm is None else rule.when.comm.beginnings
                if names is None and rule.role != "mcp":
                    return None
                found |= names or frozenset()
        return frozenset(found)

    def judge(self, facts: ProcessFacts) -> ProcessRule | None:
        """The first rule that fits."""
        return next((rule for rule in self.rules if rule.when.holds(facts)), None)


class Signatures:
    """All clients, asked in the order of their names, `generic` last."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self.by_name = {client.name: client for client in clients}
        self._named = [client for name, client in sorted(self.by_name.items()) if name != GENERIC]

    def agent(self, facts: ProcessFacts) -> Client | None:
        """The client whose agent the process is; None where no signature says so."""
        for client in self._named:
            if any(when.holds(facts) for when in client.agents):
                return client
        return None

    def root(self, facts: ProcessFacts) -> Client | None:
        """The generic client, if the first process of a session may be an unknown agent."""
        generic = self.by_name.get(GENERIC)
        if generic is not None and any(when.holds(facts) for when in generic.agents):
            return generic
        return None

    @property
    def variables(self) -> set[str]:
        """Variables of the environment that some rule asks for."""
        found = {client.call_id for client in self.by_name.values() if client.call_id}
        for client in self.by_name.values():
            for when in (*client.agents, *(rule.when for rule in client.rules)):
                found |= when.environment.keys()
        return found

    @property
    def names_at_once(self) -> set[str]:
        """Names of programs that may be agents or, in a session of a client that says so by name,
        begin a call."""
        found = {name[:NAME_PREFIX] for name in self.agent_names}
        for client in self.by_name.values():
            found |= client.begins_with or frozenset()
        return found

    @property
    def agent_names(self) -> set[str]:
        """Literal names of programs that may be agents, for the kernel to look for."""
        return {
            glob.text
            for client in self._named
            for when in client.agents
            if when.comm is not None
            for glob in when.comm.wanted
            if not set(glob.text) & set("*?[")
        }
