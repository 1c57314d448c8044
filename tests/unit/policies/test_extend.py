# SPDX-License-Identifier: Apache-2.0
"""A file extends a policy that ships or one beside it: its own rules go first."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.errors import PolicyError
from agentcg.policies import SessionFacts, check, load
from agentcg.policies.extend import in_order
from agentcg.policies.language import SHIPPED
from agentcg.policies.rules import Extends, File

GIB = 1 << 30
ALICE = SessionFacts(name="ci", uid=1000, user="alice", memory_bytes=8 * GIB)


def write(directory: Path, **files: str) -> Path:
    """Files `NAME.yaml` with these texts after `version: 1`."""
    for name, text in files.items():
        (directory / f"{name}.yaml").write_text(f"version: 1\n{text}")
    return directory


def refused(directory: Path) -> list[str]:
    """The lines with which a directory is refused."""
    with pytest.raises(PolicyError) as caught:
        load(directory)
    return caught.value.message.splitlines()


def test_a_site_states_what_differs_from_a_policy_that_ships(tmp_path: Path) -> None:
    """Its own rules decide first, then those of the policy it extends, then the default."""
    write(
        tmp_path, site="extends: multi-tenant\nsessions: [{match: {user: alice}, priority: high}]"
    )
    policy = load(tmp_path)
    assert policy.files == ("site.yaml", "multi-tenant.yaml", "default.yaml")
    rule = policy.session(ALICE)
    assert (rule.priority, rule.rules["priority"]) == ("high", "site.yaml:3")
    assert rule.rules["max_calls"].startswith("multi-tenant.yaml:")
    assert rule.rules["cpu_weight"].startswith("default.yaml:")
    assert policy.user(1000, "alice", 8 * GIB).memory_max == 4 * GIB


@pytest.mark.parametrize("name", SHIPPED)
def test_every_policy_that_ships_can_be_extended(tmp_path: Path, name: str) -> None:
    """Extending it gives no mistakes and no warnings."""
    write(tmp_path, site=f"extends: {name}\n")
    assert check(tmp_path) == []
    assert load(tmp_path).files[1] == f"{name}.yaml"


def test_what_another_file_extends_is_asked_there_and_not_again(tmp_path: Path) -> None:
    """A base that is beside the file that extends it does not go before it."""
    write(
        tmp_path,
        base="sessions: [{pids_max: 1}]",
        site="extends: [base.yaml, more.yaml]\nsessions: [{match: {name: ci}, pids_max: 2}]",
        more="sessions: [{pids_max: 3, max_calls: 7}]",
        zoo="host: {memory_max: 1G}",
    )
    policy = load(tmp_path)
    assert policy.files == ("site.yaml", "base.yaml", "more.yaml", "zoo.yaml", "default.yaml")
    rule = policy.session(ALICE)
    assert (rule.pids_max, rule.max_calls) == (2, 7)


def test_one_file_is_checked_with_what_it_extends(tmp_path: Path) -> None:
    """Before it is installed, a file is read together with those beside it that it names."""
    write(tmp_path, site="extends: base.yaml", base="hots: {}", other="nonsense: 1")
    assert [mistake.where for mistake in check(tmp_path / "site.yaml")] == ["base.yaml:2:1"]


def test_a_circle_is_named_with_the_place_that_closes_it(tmp_path: Path) -> None:
    """Whoever extends itself, directly or not, is refused."""
    write(tmp_path, a="extends: b.yaml", b="extends:\n  - c.yaml", c="extends: [a.yaml]")
    assert refused(tmp_path) == [
        "c.yaml:2:11: extends: 'a.yaml' is not valid: goes round in a circle: "
        "a.yaml extends b.yaml extends c.yaml extends a.yaml"
    ]
    write(tmp_path, a="", b="", c="extends: c.yaml")
    assert refused(tmp_path)[0].endswith("in a circle: c.yaml extends c.yaml")


def test_the_depth_is_bounded(tmp_path: Path) -> None:
    """Nine files in a row are more than anybody can follow."""
    chain = {f"f{number}": f"extends: f{number + 1}.yaml" for number in range(8)}
    write(tmp_path, **chain, f8="")
    assert refused(tmp_path) == [
        "f7.yaml:2:10: extends: 'f8.yaml' is not valid: at most 8 files extend each other"
    ]
    write(tmp_path, f7="")
    assert len(load(tmp_path).files) == 10


@pytest.mark.parametrize(
    ("extends", "rule"),
    [
        ("multi-tennant", "did you mean 'multi-tenant'?"),
        ("default", "the built-in default is underneath every policy"),
        ("/etc/passwd", "one of multi-tenant, single-developer, or a file beside this one"),
        ("../other.yaml", "a file beside this one"),
        ("sub/other.yaml", "a file beside this one"),
        ("other.yaml", "there is no such file beside this one"),
        ("[]", "a list of 1 to 8 policies"),
        ("[[a.yaml]]", "a file beside this one"),
        ("{a: b}", "a file beside this one"),
        ("", "a file beside this one"),
    ],
)
def test_what_cannot_be_extended(tmp_path: Path, extends: str, rule: str) -> None:
    """Only policies that ship and files beside this one, each refused at its place."""
    write(tmp_path, site=f"extends: {extends}")
    (line,) = refused(tmp_path)
    assert line.startswith("site.yaml:2:")
    assert rule in line


_NAMES = [f"{letter}.yaml" for letter in "abcdef"]
_GRAPHS = st.dictionaries(st.sampled_from(_NAMES), st.lists(st.sampled_from(_NAMES), max_size=3))


@given(_GRAPHS)
def test_any_web_of_files_ends_in_an_order_or_a_mistake(graph: dict[str, list[str]]) -> None:
    """Each file is asked exactly once, and where nothing is wrong before what it extends first
    named."""
    files = {
        name: File(name, {}, tuple(Extends(target, (1, 1)) for target in targets))
        for name, targets in sorted(graph.items())
    }
    ordered, mistakes = in_order(files.values(), lambda named: files.get(named.name))
    assert sorted(file.name for file in ordered) == sorted(files)
    if not mistakes:
        place = {file.name: number for number, file in enumerate(ordered)}
        for number, file in enumerate(ordered):
            above = [other for other in ordered if any(e.name == file.name for e in other.extends)]
            assert not above or min(place[other.name] for other in above) < number
