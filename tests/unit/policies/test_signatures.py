# SPDX-License-Identifier: Apache-2.0
"""Signature files: what ships, what a site may write, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.errors import PolicyError
from agentcg.policies.signature_files import load_signatures, parse_client
from agentcg.policies.signatures import Between, ProcessFacts

CLIENT = "version: 1\nclient: mine\n"


def mistakes(text: str) -> list[str]:
    return [str(mistake) for mistake in parse_client(text.encode(), "mine.yaml")[1]]


def test_shipped_clients() -> None:
    """Six clients and the generic rule ship; every one of them names its rules' places."""
    names = {
        "claude-code", "codex", "generic", "langgraph", "mini-swe-agent", "openhands", "swe-rex",
    }  # fmt: skip
    clients = load_signatures().by_name
    assert clients.keys() == names
    assert clients["codex"].call_id == "CODEX_TOOL_CALL_ID"
    for client in clients.values():
        assert all(rule.where.startswith(f"{client.name}.yaml:") for rule in client.rules)


def test_a_client_is_added_without_code(tmp_path: Path) -> None:
    """A site's file is one more client, or replaces a shipped one of the same name."""
    (tmp_path / "a.yaml").write_text(
        CLIENT + "agent: [{comm: mine}]\nprocesses: [{role: call, when: {comm: fish}}]\n"
    )
    (tmp_path / "b.yaml").write_text("version: 1\nclient: codex\n")
    found = load_signatures(tmp_path)
    mine = found.agent(ProcessFacts("mine", ("mine",)))
    assert mine is not None
    rule = mine.judge(ProcessFacts("fish", ("fish", "-c", "ls")))
    assert rule is not None
    assert (rule.role, rule.where) == ("call", "a.yaml:4")
    assert found.by_name["codex"].rules == ()


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ("{role: call, when: {comm: [sh, codex-linux-san*]}}", {"sh", "codex-li"}),
        ("{role: call, when: {comm: fish}}, {role: helper}", {"fish"}),
        ("{role: call, when: {environment: {MY_AGENT_CALL: x}}}", set()),
        ("{role: call, when: {comm: tmux*}}", None),
        ("{role: call, when: {comm: ['!sh']}}", None),
        ("{role: mcp, when: {argv: '*mcp*'}}", set()),
        ("{role: mcp, when: {comm: [node], argv: '*mcp*'}}, {role: call}", None),
        ("{role: shell}", None),
        ("{role: call, when: {comm: sh}}, {role: mark, when: {program: x}}", None),
    ],
)
def test_names_of_what_may_begin_a_call(rules: str, names: set[str] | None) -> None:
    """As far as a signature has them, for the kernel to tell of those at once."""
    client, _ = parse_client(f"{CLIENT}processes: [{rules}]\n".encode(), "mine.yaml")
    assert client is not None
    assert client.begins_with == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("client: mine\n", "version: missing"),
        ("version: 2\nclient: mine\n", "this agentcg reads version 1"),
        ("version: 1\n", "client: missing"),
        ("version: 1\nclient: ../x\n", "mine.yaml:2:9: client: '../x' is not valid"),
        (CLIENT + "agnet: []\n", "did you mean 'agent'?"),
        (CLIENT + "processes: {}\n", "a list of at most"),
        (CLIENT + "processes: [{role: tool}]\n", "one of call, hook"),
        (CLIENT + "processes: [{when: {comm: x}}]\n", "role: missing"),
        (CLIENT + "processes: [{role: shell, jobs: some}]\n", "one of group, all"),
        (CLIENT + "processes: [{role: shell, gap: 3h}]\n", "a duration"),
        (CLIENT + "agent: [{argv: []}]\n", "1 to 64 patterns"),
        (CLIENT + "agent: [{environment: {A-B: x}}]\n", "a name of"),
        (CLIENT + "call_id: ID\n", "7 to 64"),
        (CLIENT + "agent: [{leads_session: maybe}]\n", "one of true, false"),
    ],
)
def test_mistakes_have_a_place(text: str, said: str) -> None:
    """Each mistake is told with file, line, column, field and what would be right."""
    (first, *_) = mistakes(text)
    assert first.startswith("mine.yaml")
    assert said in first


def test_one_mistake_refuses_the_directory(tmp_path: Path) -> None:
    """A bad file of a site is an error that names it; nothing of the directory is taken."""
    (tmp_path / "good.yaml").write_text(CLIENT)
    (tmp_path / "bad.yaml").write_text("version: 1\nclient: bad\nx: 1\n")
    with pytest.raises(PolicyError, match=r"bad\.yaml:3:1"):
        load_signatures(tmp_path)


def test_exclusion_wins() -> None:
    """A pattern after ! excludes, also where another one fits."""
    client, wrong = parse_client((CLIENT + 'agent: [{comm: ["!sh", "*"]}]\n').encode(), "x.yaml")
    assert client is not None
    assert wrong == []
    assert client.agents[0].holds(ProcessFacts("python3", ()))
    assert not client.agents[0].holds(ProcessFacts("sh", ()))


def test_command_between_marks() -> None:
    """The agent's command stands between marks; without them there is none."""
    cut = Between("eval ", " < /dev/null")
    assert cut.cut("source x && eval 'a < /dev/null' < /dev/null && pwd") == "'a < /dev/null'"
    assert cut.cut("nothing") is None


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Any file gives a client or mistakes, never an error and never both."""
    client, wrong = parse_client(data, "x.yaml")
    assert (client is None) == bool(wrong)
