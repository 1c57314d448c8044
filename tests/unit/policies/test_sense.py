# SPDX-License-Identifier: Apache-2.0
"""Rules that are right one by one and make no sense together are found, with their place."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from agentcg.errors import PolicyError
from agentcg.policies import check, load

GIB = 1 << 30


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty directory of policies."""
    return tmp_path


def found(directory: Path, text: str, memory_total_bytes: int | None = None) -> list[str]:
    """What the check says of a policy `p.yaml`, the version given in its first line."""
    body = textwrap.dedent(text).lstrip("\n")
    (directory / "p.yaml").write_text(f"version: 1\n{body}")
    lines = [str(mistake) for mistake in check(directory, memory_total_bytes)]
    return [re.sub(r"default\.yaml:\d+", "default.yaml", line) for line in lines]


def test_steps_of_the_ladder_stay_in_order(directory: Path) -> None:
    """A later step at more room than a gentler one is a mistake, the default's figures included."""
    (line,) = found(directory, "ladder: {throttle_below: 60%, throttle_until: 70%}")
    assert re.fullmatch(
        r"p\.yaml:2:26: ladder\.throttle_below: '60%' is not valid: more than reclaim_below "
        r"\([\d.]+%, default\.yaml\)",
        line,
    )
    assert found(directory, "ladder: {reclaim_below: 60%, reclaim_until: 70%}") == []
    line = found(directory, "ladder: {reclaim_below: 0.1%}")[-1]
    assert line.startswith(
        "p.yaml:2:25: ladder.reclaim_below: '0.1%' is not valid: less than throttle_below ("
    )
    assert found(directory, "ladder: {stall_above: 5%}")[0].startswith("p.yaml:2:23: ")


def test_no_limit_lies_above_the_bound_over_all(directory: Path) -> None:
    """A size in any section that exceeds host.memory_max is a mistake at that size."""
    lines = found(
        directory,
        """
        host: {memory_max: 4G, memory_reserve: 1G}
        users: [{memory_max: 5G}]
        tenants: [{memory_max: 4G}]
        sessions:
          - memory_high: 6G
          - memory_low: 100%
        calls: [{memory: 8G}]
        """,
    )
    assert [line.split(" ")[1] for line in lines] == [
        "users.memory_max:", "sessions.memory_high:", "calls.memory:",
    ]  # fmt: skip
    assert lines[0] == (
        "p.yaml:3:22: users.memory_max: '5G' is not valid: more than host.memory_max "
        "(4.0G, p.yaml:2)"
    )


def test_what_only_this_machine_has_not_got_is_a_warning(directory: Path) -> None:
    """One file can serve machines of several sizes: the policy is taken, and says so."""
    text = "sessions: [{memory_max: 12G}]"
    assert found(directory, text) == []
    assert found(directory, text, 16 * GIB) == []
    assert found(directory, text, 8 * GIB) == [
        "p.yaml:2:25: warning: sessions.memory_max: '12G': more than all sessions "
        "may use on this machine (7.2G)"
    ]
    assert [str(warning) for warning in load(directory, 8 * GIB).warnings] == [
        str(mistake) for mistake in check(directory, 8 * GIB)
    ]


def test_sessions_named_one_by_one_are_not_promised_more_than_there_is(directory: Path) -> None:
    """Protection of named sessions is summed; patterns can match any number and are not."""
    (line,) = found(
        directory,
        """
        sessions:
          - match: {name: [a, b]}
            memory_low: 40%
          - match: {name: "c*"}
            memory_low: 90%
          - match: {name: d}
            memory_low: 30%
        """,
    )
    assert line.startswith("p.yaml:8:17: sessions.memory_low: '30%' is not valid: the 3 sessions")
    (line,) = found(
        directory,
        """
        host: {memory_max: 3G}
        sessions: [{match: {name: [a, b]}, memory_low: 2G}]
        """,
    )
    assert "promised more than host.memory_max (3.0G, p.yaml:2) together" in line
    mixed = "sessions: [{match: {name: [a, b]}, memory_low: 2G}]"
    assert found(directory, mixed, 8 * GIB) == []
    assert "warning" in found(directory, mixed, 4 * GIB)[0]


def test_a_rule_that_never_decides_is_a_warning(directory: Path) -> None:
    """What stands below a rule that always comes first has no effect; it names that rule."""
    lines = found(
        directory,
        """
        sessions:
          - pids_max: 100
          - match: {user: ci}
            pids_max: 200
            max_calls: 3
          - match: {user: ci, name: x}
            max_calls: 4
          - match: {name: x}
            max_calls: 5
        """,
    )
    assert lines == [
        "p.yaml:5:15: warning: sessions[1].pids_max: '200': never decides: p.yaml:3 "
        "comes first for all that match here",
        "p.yaml:8:16: warning: sessions[2].max_calls: '4': never decides: p.yaml:6 "
        "comes first for all that match here",
    ]


def test_what_a_site_overrides_in_another_file_is_no_warning(directory: Path) -> None:
    """Rules that lose against a file that extends theirs are what extending is for."""
    assert found(directory, "extends: multi-tenant\nsessions: [{priority: low}]") == []


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("sessions: [{match: {name: '*'}, weight: 1}]", "fits everything"),
        ("sessions: [{match: {cgroup: '**'}, weight: 1}]", "fits everything"),
        ("sessions: [{match: {priority: [low, high, normal]}, weight: 1}]", "fits everything"),
        ("calls: [{match: {tool: '*'}, cpu_weight: 1}]", "fits everything"),
        ("tenants: [{match: {name: '*'}, weight: 1}]", "fits everything"),
        ("sessions: [{match: {name: 'ci.*'}, weight: 1}]", "fits nothing: names have"),
        (f"sessions: [{{match: {{name: {'x' * 64}}}, weight: 1}}]", "fits nothing: names have"),
        ("sessions: [{match: {cgroup: system.slice/*}, weight: 1}]", "fits nothing: the path"),
        ("sessions: [{match: {unit: ssh}, weight: 1}]", "fits nothing: a unit's name"),
        ("sessions: [{match: {labels: {'a b': x}}, weight: 1}]", "fits nothing: no label"),
    ],
)
def test_selectors_that_fit_everything_or_nothing(directory: Path, rule: str, why: str) -> None:
    """They are allowed, but hardly meant: a warning at the pattern."""
    (line,) = found(directory, rule)
    assert line.startswith("p.yaml:2:")
    assert ": warning: " in line
    assert why in line
    assert load(directory).warnings


@pytest.mark.parametrize(
    "rule",
    [
        "sessions: [{match: {name: 'ci-[ab]?*', unit: 'ci@*', cgroup: '*/x'}, weight: 1}]",
        "sessions: [{match: {unit: ssh.service, labels: {tenant: '*'}}, weight: 1}]",
        "sessions: [{match: {container: '*'}, weight: 1}]",
        "tenants: [{match: {name: 'acme.example/x'}, weight: 1}]",
        "calls: [{match: {command: '*', category: test}, cpu_weight: 1}]",
    ],
)
def test_what_is_meant_is_not_warned_of(directory: Path, rule: str) -> None:
    """`*` for a fact that may be unknown asks whether it is known."""
    assert found(directory, rule) == []


def test_users_whom_the_machine_does_not_know(directory: Path) -> None:
    """A login that is misspelt matches nobody; patterns are not looked up."""
    (directory / "p.yaml").write_text(
        "version: 1\n"
        "sessions:\n"
        "  - match: {user: [root, alcie, 'a*']}\n"
        "    weight: 1\n"
        "users: [{match: {user: nobdy}, weight: 2}]\n"
    )
    lines = [str(mistake) for mistake in check(directory, None, {"root", "alice"}.__contains__)]
    assert lines == [
        "p.yaml:3:19: warning: sessions.match.user: 'alcie': fits nothing: there is no such user "
        "on this machine",
        "p.yaml:5:24: warning: users.match.user: 'nobdy': fits nothing: there is no such user "
        "on this machine",
    ]
    assert check(directory) == []


def test_a_contradiction_keeps_the_policy_out(directory: Path) -> None:
    """It is refused like any mistake; a warning alone is not."""
    found(directory, "ladder: {kill_below: 50%, kill_until: 60%}")
    with pytest.raises(PolicyError, match=r"p\.yaml:2:22: ladder\.kill_below"):
        load(directory)
