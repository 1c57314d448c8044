# SPDX-License-Identifier: Apache-2.0
"""Files that are not policies, or that attack the parser, get a clear and cheap answer."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agentcg.policies import check_text

BOMB = "version: 1\na: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: [*c,*c,*c]\n"


@pytest.mark.parametrize(
    ("text", "where", "rule"),
    [
        (BOMB, "p.yaml:2:4", "anchors (&name) are not allowed"),
        ("version: 1\nhost: *x\n", "p.yaml:2:7", "aliases (*name) are not allowed"),
        ("[" * 50_000, "p.yaml:1:9", "nested more than 8 levels deep"),
        ("{a: " * 50_000, "p.yaml:1:", "nested more than 8 levels deep"),
        ("- " * 50_000, "p.yaml:1:", "nested more than 8 levels deep"),
        ("#" * 300_000, "p.yaml", "at most 256 KiB"),
        ("version: 1\nhost:\n\tmemory_max: 1G\n", "p.yaml:3:1", "a tab cannot indent"),
        ("version: 1\n---\nversion: 1\n", "p.yaml:2:1", "only one document"),
        ("!!python/object/apply:os.system [true]\n", "p.yaml:1:1", "tags (!name)"),
        ("version: !!int 1\n", "p.yaml:1:10", "tags (!name)"),
        ("version: 1\nhost: [\n", "p.yaml:", "not YAML"),
        ("version: 1\nhost: 'open\n", "p.yaml:", "not YAML"),
        (b"version: 1\nhost: {memory_max: \xff}\n", "p.yaml:2:20", "byte 0xff is not UTF-8"),
        ("version: 1\n".encode("utf-16"), "p.yaml:1:1", "byte 0xff is not UTF-8"),
        ("version: 1\0\n", "p.yaml:1:11", "character #x0000 is not allowed"),
        ("version: \x1b[31m\n", "p.yaml:1:10", "character #x001b is not allowed"),
        ("? [a, b]\n: c\n", "p.yaml:1:3", "a key must be a word"),
        ("just words\n", "p.yaml:1:1", "must be a mapping"),
        ("<<: {version: 1}\n", "p.yaml:1:1", "unknown key"),
    ],
)
def test_what_is_refused(text: str | bytes, where: str, rule: str) -> None:
    """Bombs, other formats and other encodings are refused with a position and a reason."""
    found = [str(mistake) for mistake in check_text(text, "p.yaml")]
    assert any(line.startswith(where) and rule in line for line in found), found


def test_mistakes_are_bounded() -> None:
    """A large file in the wrong language gives 50 mistakes and the number of the others."""
    text = "version: 1\n" + "".join(f"key{number}: 1\n" for number in range(10_000))
    found = check_text(text, "p.yaml")
    assert len(found) == 51
    assert found[-1].rule == "and 9950 more mistakes"


def test_messages_are_safe_for_a_terminal() -> None:
    """Control characters that YAML escapes bring in do not come out again."""
    text = 'version: 1\n"\\e[31mred": 1\nhost: {memory_max: "\\e[31m"}\n'
    shown = "".join(str(mistake) for mistake in check_text(text, "p.yaml"))
    assert shown.isprintable()


@given(st.one_of(st.text(), st.binary()))
def test_any_input_gets_an_answer(text: str | bytes) -> None:
    """Whatever is in the file, a check answers with a list."""
    for mistake in check_text(text, "p.yaml"):
        assert len(str(mistake)) < 1000


_SCALARS = st.sampled_from(
    ["1", "max", "512M", "50%", "yes", "~", "''", "'1'", "1.5X", "high", "test", "*", "5s", "-1"]
)
_KEYS = st.sampled_from(
    ["version", "host", "sessions", "calls", "admission", "match", "memory_max", "memory_high",
     "priority", "labels", "name", "wait", "cpu_weight", "x"]
)  # fmt: skip
_FLOW = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.lists(st.tuples(_KEYS, inner), max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=12,
)


@given(_FLOW)
def test_any_structure_gets_an_answer(text: str) -> None:
    """Right words in wrong places are mistakes, never exceptions."""
    check_text(text, "p.yaml")


@pytest.mark.parametrize(
    "text",
    [BOMB, "[" * 500, "version: 1\nhost:\n\ta: 1\n", "version: 1\nhost: {memory_max: 1.5X}\n",
     "version: 1\nsessions: [{cpu_weight: '5', name: x}]\n", "version: 1\0", "a: b: c"],
)  # fmt: skip
def test_without_libyaml_the_answer_is_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's own parser finds the same mistakes at the same places."""
    with_libyaml = [(mistake.where, mistake.field) for mistake in check_text(text, "p.yaml")]
    monkeypatch.setattr("agentcg.policies.reader._Loader", yaml.SafeLoader)
    assert [
        (mistake.where, mistake.field) for mistake in check_text(text, "p.yaml")
    ] == with_libyaml
    assert with_libyaml
