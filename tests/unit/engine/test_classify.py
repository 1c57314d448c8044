# SPDX-License-Identifier: Apache-2.0
"""What the classifier makes of what an agent's processes do. Times are in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.engine.classify import ANCESTORS_MAX, PROCESSES_MAX, Classifier
from agentcg.daemon.engine.sights import Began, Decision, Joins, Key, Over
from agentcg.policies.signature_files import load_signatures
from agentcg.policies.signatures import NAME_PREFIX

SIGNATURES = load_signatures()
AGENT = 10


@dataclass(frozen=True)
class Seen:
    """A sight; a process is born in the tick of its number unless the test says otherwise."""

    kind: str
    pid: int
    parent: int = 0
    argv: tuple[str, ...] = ()
    comm: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    pgid: int = 1
    sid: int = 1
    time_ms: int = 0
    status: int | None = None
    start_ticks: int = 0
    parent_start_ticks: int = 0

    @property
    def time_ns(self) -> int:
        return self.time_ms * 1_000_000


def born(pid: int, parent: int, **more: object) -> Seen:
    return Seen("born", pid, parent, start_ticks=pid, parent_start_ticks=parent, **more)  # type: ignore[arg-type]


def ran(pid: int, parent: int, *argv: str, **more: object) -> Seen:
    comm = more.pop("comm", argv[0].rpartition("/")[2][:15] if argv else "")
    return Seen(
        "ran", pid, parent, argv, comm, start_ticks=pid, parent_start_ticks=parent, **more  # type: ignore[arg-type]
    )  # fmt: skip


def gone(pid: int, status: int = 0, **more: object) -> Seen:
    return Seen("gone", pid, status=status, start_ticks=pid, **more)  # type: ignore[arg-type]


def decided(*seen: Seen, client: str | None = None) -> list[Decision]:
    classifier = Classifier(SIGNATURES, client)
    return [decision for sight in seen for decision in classifier.observe(sight)]


def begun(*seen: Seen, client: str | None = None) -> list[tuple[int, str, str]]:
    """Pid, how it was found, and command of each call."""
    return [
        (decision.call.pid, decision.found, decision.command)
        for decision in decided(*seen, client=client)
        if isinstance(decision, Began)
    ]


def ancestors(classifier: Classifier, pid: int) -> Iterator[object]:
    """What is kept above a process that is kept."""
    above = classifier._processes[pid].parent
    while above is not None:
        yield above
        above = above.parent


UNKNOWN = ran(AGENT, 1, "/opt/my-agent")
CLAUDE = ran(AGENT, 1, "claude", "-p", "x")
CLAUDE_CALL = (
    "source /root/.claude/shell-snapshots/snapshot-bash-1.sh 2>/dev/null || true && "
    "eval 'make -j \"$(nproc)\"' < /dev/null && pwd -P >| /tmp/claude-1-cwd"
)
TOOL, HOOK = {"AI_AGENT": "claude-code_2_agent"}, {"AI_AGENT": "claude-code_2_harness"}


def test_shell_of_an_unknown_agent_is_a_call() -> None:
    """`sh -c COMMAND` run by an agent without signature is a call, by the generic rule."""
    assert begun(UNKNOWN, born(11, AGENT), ran(11, AGENT, "/bin/sh", "-c", "make")) == [
        (11, "generic", "make")
    ]


def test_what_an_agent_runs_directly_is_its_own() -> None:
    """Programs that are no shells are helpers, and so is everything below them."""
    helper = ran(11, AGENT, "git", "status")
    below = ran(12, 11, "sh", "-c", "less")
    assert begun(UNKNOWN, helper, born(12, 11), below) == []


def test_a_shell_somebody_works_in_is_no_agent() -> None:
    """In a session whose first process is a shell, only an agent of a known client has calls."""
    bash = ran(AGENT, 1, "bash")
    own = ran(11, AGENT, "sh", "-c", "ls")
    claude = ran(12, AGENT, "claude")
    call = ran(13, 12, "bash", "-c", CLAUDE_CALL, environment=TOOL)
    assert [pid for pid, _, _ in begun(bash, own, claude, call)] == [13]


def test_claude_code() -> None:
    """Calls are told from hooks by a variable, from helpers by their line; the command is clean."""
    call = ran(11, AGENT, "/bin/bash", "-c", CLAUDE_CALL, environment=TOOL, sid=11)
    hook = ran(12, AGENT, "/bin/sh", "-c", "python3 hook.py", environment=HOOK)
    snapshot = ran(13, AGENT, "/bin/bash", "-c", "-l", "SNAPSHOT_FILE=/tmp/x", environment=TOOL)
    server = ran(14, AGENT, "npx", "@example/mcp-server")
    decisions = decided(CLAUDE, call, hook, snapshot, server)
    assert [(d.role, d.call.pid, d.tool) for d in decisions if isinstance(d, Began)] == [
        ("call", 11, "Bash"),
        ("mcp", 14, "shell"),
    ]
    assert begun(CLAUDE, call) == [(11, "signature", 'make -j "$(nproc)"')]


@pytest.mark.parametrize("client", ["claude", "codex"])
@pytest.mark.parametrize(
    ("comm", "line"),
    [
        ("npx", "/usr/bin/env node /usr/bin/npx -y @modelcontextprotocol/server-git ."),
        ("npx", "/usr/bin/env node /usr/bin/npx -y tools-of-mine"),
        ("node", "node /usr/bin/npx -y tools-of-mine"),
        ("node", "node /opt/modelcontextprotocol/server.js"),
        ("uvx", "uvx mcp-server-git"),
        ("my-server", "/opt/bin/my-server --mcp"),
    ],
)
def test_servers_of_tools(client: str, comm: str, line: str) -> None:
    """A server is known also where it is started by a script, which the kernel shows with its
    interpreter."""
    agent, server = ran(AGENT, 1, client), ran(11, AGENT, *line.split(), comm=comm)
    assert [d.role for d in decided(agent, server) if isinstance(d, Began)] == ["mcp"]


@pytest.mark.parametrize("client", ["claude", "codex"])
@pytest.mark.parametrize("line", ["rg -n mcp src", "git log --grep mcp", "node build.js"])
def test_who_looks_for_servers_is_none(client: str, line: str) -> None:
    """A search for the word is the agent's own; so is a program that says nothing of servers."""
    assert decided(ran(AGENT, 1, client), ran(11, AGENT, *line.split())) == []


def test_each_program_is_told_only_where_any_may_begin_a_call() -> None:
    """By name alone the kernel can tell what may begin a call of every client that ships, as long
    as there is no persistent shell."""
    assert {c.name for c in SIGNATURES.by_name.values() if c.begins_with is None} == set()


def test_codex_names_its_calls() -> None:
    """A call id in the environment decides, whatever the sandbox around the call looks like."""
    codex = ran(AGENT, 1, "codex", "exec")
    setup = ran(11, AGENT, "/proc/self/exe", "--codex-run-as-process-setup", comm="exe")
    variables = {"CODEX_TOOL_CALL_ID": "call_1"}
    call = ran(11, AGENT, "/bin/bash", "-c", "make", environment=variables, sid=11)
    (began,) = decided(codex, setup, call)
    assert isinstance(began, Began)
    assert (began.found, began.reference, began.client) == ("environment", "call_1", "codex")


def test_the_end_of_the_first_process_ends_the_call() -> None:
    """A call that ends before it could be moved is over with the status of its shell."""
    call = ran(11, AGENT, "sh", "-c", "exit 3")
    assert decided(UNKNOWN, call, gone(11, 3))[-1] == Over(Key(11, 11), 3, 0)


def test_children_join_their_call() -> None:
    """A child that was born before its parent was moved follows it, also a grandchild's child."""
    call = ran(11, AGENT, "sh", "-c", "make")
    decisions = decided(UNKNOWN, call, born(12, 11), born(13, 12), ran(13, 12, "cc"))
    assert decisions[1:] == [
        Joins(Key(12, 12), Key(11, 11)),
        Joins(Key(13, 13), Key(11, 11)),
        Joins(Key(13, 13), Key(11, 11)),
    ]


def test_ancestry_outlives_ends() -> None:
    """A process whose parents have all ended still descends from the agent."""
    chain = [born(11, AGENT), born(12, 11), gone(11), born(13, 12), gone(12)]
    assert begun(UNKNOWN, *chain, ran(13, 12, "sh", "-c", "x")) == [(13, "generic", "x")]


def test_a_reused_number_is_another_process() -> None:
    """What is said of a process holds for its birth, not for its number."""
    call = ran(11, AGENT, "sh", "-c", "make")
    other = Seen("born", 12, 11, start_ticks=99, parent_start_ticks=77)
    assert len(decided(UNKNOWN, call, other)) == 1


def test_marks_tell_the_calls_of_a_shell_apart() -> None:
    """SWE-ReX checks each command first: jobs after that are one call until the next check."""
    server = ran(AGENT, 1, "swerex-remote", "--token", "x")
    shell = ran(11, AGENT, "/bin/bash", pgid=11)
    prompt = ran(12, 11, "stty", "-echo", pgid=12)
    check = ran(20, AGENT, "sh", "-c", "bash -n <<EOF", pgid=10)
    first = ran(21, 11, "cat", pgid=21, time_ms=5)
    second = ran(22, 11, "grep", pgid=22, time_ms=900)
    again = ran(30, AGENT, "sh", "-c", "bash -n <<EOF", pgid=10)
    third = ran(31, 11, "make", pgid=31)
    decisions = decided(server, shell, prompt, check, first, second, again, third)
    began = [decision for decision in decisions if isinstance(decision, Began)]
    assert [(d.call.pid, d.shared, d.ends_with_leader) for d in began] == [
        (21, False, False),
        (31, False, False),
    ]
    assert Joins(Key(22, 22), Key(21, 21)) in decisions
    assert Over(Key(21, 21), None, 0) in decisions


def test_without_marks_time_tells_calls_apart_and_says_so() -> None:
    """Jobs of a shell within the gap are one call, later ones another; both are `shared`."""
    driver = ran(AGENT, 1, "python3", "driver.py")
    shell = ran(11, AGENT, "/bin/bash", "-i", pgid=11)
    jobs = [ran(12, 11, "a", pgid=12, time_ms=1000), ran(13, 11, "b", pgid=13, time_ms=1100)]
    prompt = ran(14, 11, "date", pgid=11, time_ms=5000)
    later = ran(15, 11, "c", pgid=15, time_ms=6000)
    decisions = decided(driver, shell, *jobs, prompt, later, client="openhands")
    began = [decision for decision in decisions if isinstance(decision, Began)]
    assert [(d.call.pid, d.shared) for d in began] == [(12, True), (15, True)]


def test_a_call_that_has_ended_takes_nobody_in() -> None:
    """After `forget`, the next job of a shell begins a call of its own."""
    classifier = Classifier(SIGNATURES, "langgraph")
    for sight in (ran(AGENT, 1, "python3", "x.py"), ran(11, AGENT, "/bin/bash", pgid=11)):
        classifier.observe(sight)
    (first,) = classifier.observe(ran(12, 11, "a", time_ms=1000))
    assert isinstance(first, Began)
    classifier.forget(first.call)
    (second,) = classifier.observe(ran(13, 11, "b", time_ms=1010))
    assert isinstance(second, Began)


WORDS = st.sampled_from(
    ["sh", "bash", "-c", "claude", "codex", "x" * 2000, "\x1b[2J", "\udcff", "", "eval '", "tmux"]
)
SIGHTS = st.builds(
    Seen,
    kind=st.sampled_from(["born", "ran", "gone"]),
    pid=st.integers(1, 6),
    parent=st.integers(0, 6),
    argv=st.lists(WORDS, max_size=4).map(tuple),
    comm=WORDS,
    environment=st.dictionaries(
        st.sampled_from(["AI_AGENT", "CODEX_TOOL_CALL_ID"]), WORDS, max_size=2
    ),
    pgid=st.integers(1, 6),
    sid=st.integers(1, 6),
    time_ms=st.integers(0, 5000),
    status=st.integers(0, 255),
    start_ticks=st.integers(0, 2),
    parent_start_ticks=st.integers(0, 2),
)


@given(st.lists(SIGHTS, max_size=40), st.sampled_from([None, *SIGNATURES.by_name]))
def test_any_sights_in_any_order(sights: list[Seen], client: str | None) -> None:
    """Whatever comes in whatever order: no error, no process in two calls, the same twice."""
    decisions = decided(*sights, client=client)
    assert decisions == decided(*sights, client=client)
    calls: set[Key] = set()
    for decision in decisions:
        if isinstance(decision, Began):
            assert decision.found != "declared"
            calls.add(decision.call)
        elif isinstance(decision, Joins):
            assert decision.call in calls
            assert decision.process != decision.call


STARTERS = ("npx", "node", "python3", "docker")
"""What servers of tools are usually started by."""


@pytest.mark.parametrize("client", [None, *SIGNATURES.by_name])
@pytest.mark.parametrize("comm", ["sh", "bash", "dash", "zsh", "fish", "tmux", *STARTERS, "x" * 15])
@pytest.mark.parametrize("argv", [["-c", "make"], ["-i"], [], ["mcp", "serve"]])
def test_what_begins_a_call_is_told_at_once(comm: str, argv: list[str], client: str | None) -> None:
    """No call begins with a program of which the kernel would tell by and by; a server of tools
    may, if nothing that usually starts one does."""
    classifier = Classifier(SIGNATURES, client)
    classifier.observe(UNKNOWN)
    at_once = classifier.needs_each or comm[:NAME_PREFIX] in SIGNATURES.names_at_once
    found = classifier.observe(ran(11, AGENT, comm, *argv)) + classifier.observe(ran(12, 11, "a"))
    begun = [each for each in found if isinstance(each, Began)]
    assert at_once or not [each for each in begun if each.role == "call" or comm in STARTERS]


@pytest.mark.parametrize("client", ["claude-code", "codex"])
def test_programs_of_agents_with_fresh_shells_can_wait(client: str) -> None:
    """Of what such an agent executes for itself nobody need hear at once."""
    assert not Classifier(SIGNATURES, client).needs_each


def test_each_program_matters_while_a_persistent_shell_is_there() -> None:
    """In one whatever is executed is a job; of an unknown agent only shells begin calls."""
    classifier = Classifier(SIGNATURES, "langgraph")
    heard = []
    for sight in (ran(AGENT, 1, "python3", "x.py"), ran(11, AGENT, "/bin/bash"), gone(11)):
        classifier.observe(sight)
        heard.append(classifier.needs_each)
    assert heard == [False, True, False]


def test_memory_is_bounded() -> None:
    """However many processes are born and never end, only so many are kept, and no chain of
    others."""
    classifier = Classifier(SIGNATURES)
    youngest = PROCESSES_MAX + 1000
    for pid in range(1, youngest + 1):
        classifier.observe(born(pid, pid - 1))
    assert len(classifier._processes) == PROCESSES_MAX
    assert len(list(ancestors(classifier, youngest))) <= PROCESSES_MAX


@pytest.mark.parametrize(
    ("between", "calls"), [(ANCESTORS_MAX - 1, ["ls"]), (ANCESTORS_MAX, [])], ids=str
)
def test_an_agent_is_looked_for_among_so_many_ancestors(between: int, calls: list[str]) -> None:
    """What a process far below it executes is its own: a long chain does not cost more and more."""
    chain = range(AGENT + 1, AGENT + 1 + between)
    last = AGENT + 1 + between
    sights = [
        UNKNOWN,
        *(born(pid, pid - 1) for pid in chain),
        ran(last, last - 1, "bash", "-c", "ls"),
    ]
    assert [command for _, _, command in begun(*sights)] == calls


def test_a_chain_of_forks_leaves_nothing() -> None:
    """A process that its child replaces, again and again, does not grow a chain of dead ones."""
    classifier = Classifier(SIGNATURES)
    classifier.observe(UNKNOWN)
    for pid in range(11, 3000):
        classifier.observe(born(pid, pid - 1))
        if pid > 11:
            classifier.observe(gone(pid - 1))
    assert len(list(ancestors(classifier, 2999))) < 10
