# SPDX-License-Identifier: Apache-2.0
"""Which processes of a session are tool calls: sights in, decisions out.

Only processes in the session's runtime are seen here: what was moved to a leaf of its own forks
there. A process is judged when it executes a program, by the signature of the agent that it
descends from; descent is by birth and does not change when a parent ends. What no rule fits is
looked through: its children are judged as if they were the agent's.

Events may be missing, doubled or out of order: at worst a process is taken for the agent's own,
or its leaf gets it one event later.
"""

from __future__ import annotations

import shlex
from collections import OrderedDict, deque
from dataclasses import dataclass

from agentcg.daemon.engine.sights import Began, Decision, How, Joins, Key, Over, Seen
from agentcg.policies.signatures import (
    GENERIC,
    Client,
    ProcessFacts,
    ProcessRule,
    Signatures,
)

PROCESSES_MAX = 8192
"""Processes kept of one session; the ones seen longest ago are forgotten first."""
ANCESTORS_MAX = 256
"""How far up an ancestor is looked for; who makes a longer chain of processes of which nothing is
known is its agent's own, and each of them costs no more than the last."""
GONE_KEPT = 64
"""Processes that are gone and still known, should a child of theirs be reported late."""
_SHELL_COMMAND = ("-c", "-lc", "-ic", "-ec")


@dataclass(slots=True, eq=False)
class _Shell:
    """A persistent shell: the call that its jobs belong to now."""

    pgid: int
    rule: ProcessRule
    client: Client
    call: Key | None = None
    command: str = ""
    marked: bool = False
    active_ns: int = 0


@dataclass(slots=True, eq=False)
class _Process:
    """A process of the session. `rule`: why it has its role, None while no rule fitted."""

    key: Key
    parent: _Process | None
    pgid: int
    client: Client | None = None  # it is that client's agent
    rule: ProcessRule | None = None
    call: Key | None = None  # the call or server that it belongs to
    shell: _Shell | None = None
    is_job: bool = False  # of a persistent shell: its end is not that of its call
    gone: bool = False

    @property
    def is_open(self) -> bool:
        """Whether nothing is known of it that its children would inherit."""
        return self.client is None and self.rule is None and self.call is None


class Classifier:
    """One session's processes. No I/O and no clock: the same sights give the same decisions.

    `client`: name of the client as its opener says, for agents that nothing else tells apart.
    """

    def __init__(self, signatures: Signatures, client: str | None = None) -> None:
        self._signatures = signatures
        self._named = signatures.by_name.get(client or "")
        self._processes: OrderedDict[int, _Process] = OrderedDict()
        self._gone_lately: deque[_Process] = deque()
        self._shells: list[_Shell] = []
        self._any_name = self._named is not None and self._named.begins_with is None

    def observe(self, seen: Seen) -> list[Decision]:
        """What follows from one sight."""
        if seen.kind == "gone":
            return self._gone(seen)
        process = self._known(seen)
        if seen.kind == "born":
            return self._follow(process)
        return self._ran(process, seen)

    @property
    def needs_each(self) -> bool:
        """Whether any program may begin a call, or a server, whatever its name: in a persistent
        shell, and by some signatures."""
        return self._any_name or bool(self._shells)

    def knows(self, key: Key) -> bool:
        """Whether this process was seen."""
        found = self._processes.get(key.pid)
        return found is not None and found.key == key

    def restore(self, call: Key) -> None:
        """A call that an earlier daemon found goes on; its first process is this one."""
        self._keep(_Process(call, None, 0, call=call))

    def forget(self, call: Key) -> None:
        """The call has ended: no process joins it any more."""
        for shell in self._shells:
            if shell.call == call:
                shell.call = None
        for process in [p for p in self._processes.values() if p.call == call]:
            del self._processes[process.key.pid]

    # --- Processes ---

    def _known(self, seen: Seen) -> _Process:
        key = Key(seen.pid, seen.start_ticks)
        process = self._processes.get(seen.pid)
        if process is None or process.key != key:
            parent = self._processes.get(seen.parent)
            if parent is not None and parent.key != Key(seen.parent, seen.parent_start_ticks):
                parent = None  # its number has another process now
            process = _Process(key, parent, seen.pgid)
            self._keep(process)
        process.pgid = seen.pgid
        return process

    def _keep(self, process: _Process) -> None:
        self._processes[process.key.pid] = process
        self._processes.move_to_end(process.key.pid)
        while len(self._processes) > PROCESSES_MAX:
            _, oldest = self._processes.popitem(last=False)
            oldest.parent = None  # its children would keep the whole chain above it

    @staticmethod
    def _owner(process: _Process) -> _Process | None:
        """The nearest ancestor of which something is known; None: it descends from nobody here."""
        for _ in range(ANCESTORS_MAX):
            parent = process.parent
            if parent is None:
                return None
            if not parent.is_open and not _passes(parent):
                return parent
            if parent.gone and parent.is_open:
                process.parent = parent.parent  # or those that fork on for ever grow a chain
            else:
                process = parent
        return None

    # --- Sights ---

    def _gone(self, seen: Seen) -> list[Decision]:
        key = Key(seen.pid, seen.start_ticks)
        process = self._processes.get(seen.pid)
        if process is None or process.key != key:
            return []
        process.gone = True
        self._owner(process)
        self._gone_lately.append(process)
        if len(self._gone_lately) > GONE_KEPT:
            oldest = self._gone_lately.popleft()
            if self._processes.get(oldest.key.pid) is oldest:
                del self._processes[oldest.key.pid]
        if process.shell is not None:
            self._shells.remove(process.shell)
            process.shell = None
        if process.call == key and not process.is_job:
            return [Over(key, seen.status, seen.time_ns)]
        return []

    def _follow(self, process: _Process) -> list[Decision]:
        """A child of a call that was born before its parent was moved."""
        owner = self._owner(process)
        if owner is None or process.call is not None:
            return []
        call = owner.call
        shell = owner.shell
        if shell is not None and shell.call is not None and process.pgid != shell.pgid:
            # A group of its own is a job, also one that executes nothing. By time alone it is not
            # known whether the present call is still its call: that is for its first exec.
            call = shell.call if shell.rule.apart == "mark" else None
        if call is None:
            return []
        process.call, process.is_job = call, shell is not None
        return [Joins(process.key, call)]

    def _ran(self, process: _Process, seen: Seen) -> list[Decision]:
        if process.call is not None:
            return [] if process.call == process.key else [Joins(process.key, process.call)]
        owner = self._owner(process)
        if owner is not None and owner.call is not None:
            return self._follow(process)
        if _settles(process.rule) or (owner is not None and _settles(owner.rule, of_child=True)):
            return []
        facts = ProcessFacts(seen.comm, seen.argv, seen.environment, seen.sid == seen.pid)
        client = self._agent(process, facts, is_root=owner is None)
        if client is not None:
            process.client = client
            self._any_name = self._any_name or client.begins_with is None
        elif owner is not None and owner.shell is not None:
            return self._job(process, owner.shell, seen)
        elif owner is not None and owner.client is not None:
            return self._child(process, owner.client, facts, seen)
        return []

    def _agent(self, process: _Process, facts: ProcessFacts, *, is_root: bool) -> Client | None:
        found = self._signatures.agent(facts)
        if found is not None or not is_root or process.parent is not None:
            return found
        return self._named or self._signatures.root(facts)

    def _child(
        self, process: _Process, client: Client, facts: ProcessFacts, seen: Seen
    ) -> list[Decision]:
        """A process that an agent started."""
        process.client = None
        rule = client.judge(facts)
        process.rule = rule
        if rule is None:
            return []
        if rule.role == "shell":
            process.shell = _Shell(seen.pgid, rule, client)
            self._shells.append(process.shell)
        elif rule.role in ("mark", "end"):
            return self._mark(rule, seen)
        elif rule.role in ("call", "mcp"):
            process.call = process.key
            return [_began(process.key, client, rule, seen, command_of(rule, seen.argv))]
        return []

    # --- Persistent shells ---

    def _mark(self, rule: ProcessRule, seen: Seen) -> list[Decision]:
        """The next jobs are another call, or none. Nobody knows in which shell: in all."""
        over: list[Decision] = []
        command = command_of(rule, seen.argv)
        for shell in self._shells:
            if shell.call is not None:
                over.append(Over(shell.call, None, seen.time_ns))
            shell.call, shell.command = None, command
            shell.marked = rule.role == "mark"
        return over

    def _job(self, process: _Process, shell: _Shell, seen: Seen) -> list[Decision]:
        """A process that a persistent shell started."""
        is_job = shell.rule.jobs == "all" or seen.pgid != shell.pgid
        by_time = shell.rule.apart == "time"
        quiet_ns = seen.time_ns - shell.active_ns
        decisions: list[Decision] = []
        if shell.call is not None and by_time and quiet_ns > shell.rule.gap_s * 1e9:
            decisions.append(Over(shell.call, None, seen.time_ns))
            shell.call = None
        if shell.call is None and not (is_job and (by_time or shell.marked)):
            return decisions  # a prompt at work
        shell.active_ns = seen.time_ns
        if shell.call is not None:
            decisions.append(Joins(process.key, shell.call))
        else:
            shell.call = process.key
            decisions.append(
                _began(
                    process.key, shell.client, shell.rule, seen,
                    shell.command or " ".join(seen.argv), shared=by_time, ends_with_leader=False,
                )
            )  # fmt: skip
        process.call, process.is_job = shell.call, True
        decisions += self._forebears(process, shell)
        return decisions

    @staticmethod
    def _forebears(process: _Process, shell: _Shell) -> list[Decision]:
        """Subshells between a shell and its job, which execute nothing: they belong to the call."""
        found: list[Decision] = []
        above = process.parent
        while above is not None and above.shell is not shell and shell.call is not None:
            if above.is_open and not above.gone and above.pgid != shell.pgid:
                above.call, above.is_job = shell.call, True
                found.append(Joins(above.key, shell.call))
            above = above.parent
        return found


def _settles(rule: ProcessRule | None, *, of_child: bool = False) -> bool:
    """Whether a process that was judged by `rule` (or its child) is not judged again."""
    if rule is None or rule.role in ("pass", "call"):
        return False
    if of_child:
        return rule.role != "shell"
    return rule.role != "helper"  # `env` and `nice` become what they were given


def _passes(process: _Process) -> bool:
    return process.rule is not None and process.rule.role == "pass"


def _began(
    key: Key,
    client: Client,
    rule: ProcessRule,
    seen: Seen,
    command: str,
    *,
    shared: bool = False,
    ends_with_leader: bool = True,
) -> Began:
    reference = seen.environment.get(client.call_id) if client.call_id else None
    found: How = "generic" if client.name == GENERIC else "signature"
    return Began(
        call=key,
        role="mcp" if rule.role == "mcp" else "call",
        client=client.name,
        tool=rule.tool,
        command=command,
        found="environment" if reference else found,
        time_ns=seen.time_ns,
        reference=reference,
        shared=shared,
        ends_with_leader=ends_with_leader,
    )


def command_of(rule: ProcessRule, argv: tuple[str, ...]) -> str:
    """The agent's command in the arguments of a process, as near as the signature knows."""
    line = " ".join(argv)
    if rule.command is not None:
        part = rule.command.cut(line)
        if part is not None:
            return _unquoted(part)
    for index, word in enumerate(argv[:-1]):
        if word in _SHELL_COMMAND:
            return argv[index + 1]
    return line


def _unquoted(part: str) -> str:
    """`part` without the quotes of a shell, if it is one quoted word, or a shell that runs it."""
    try:
        words = shlex.split(part)
    except ValueError:
        return part.strip("'\"")
    if len(words) == 1:
        return words[0]
    return words[2] if len(words) == 3 and words[1] in _SHELL_COMMAND else part
