# SPDX-License-Identifier: Apache-2.0
"""Every mistake in a policy is found, with its position and what would be right."""

from __future__ import annotations

import textwrap

import pytest

from agentcg.policies import check_text


def mistakes(text: str | bytes) -> list[str]:
    """Mistakes of a file `p.yaml` as they are shown."""
    if isinstance(text, str):
        text = textwrap.dedent(text).lstrip("\n")
    return [str(mistake) for mistake in check_text(text, "p.yaml")]


def test_all_mistakes_at_once_in_file_order() -> None:
    """One check finds every mistake, each as file:line:column with field, value and rule."""
    found = mistakes(
        """
        version: 1
        sesions: []
        host: {memory_max: 1.5X}
        sessions:
          - match: {nam: ci}
            priority: hihg
            weight: -3
        """
    )
    assert found == [
        "p.yaml:2:1: sesions: unknown key; did you mean 'sessions'?",
        "p.yaml:3:20: host.memory_max: '1.5X' is not valid: a size such as 512M or 1.5G "
        "(at least 1M), a percentage such as 50%, or max",
        "p.yaml:5:13: sessions[0].match.nam: unknown key; did you mean 'name'?",
        "p.yaml:6:15: sessions[0].priority: 'hihg' is not valid: one of high, normal, low; "
        "did you mean 'high'?",
        "p.yaml:7:13: sessions[0].weight: '-3' is not valid: a whole number from 1 to 10000",
    ]


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("memory_max: 1.5X", "a size such as 512M"),
        ("memory_max: -1G", "a size such as 512M"),
        ("memory_max: .nan", "a size such as 512M"),
        ("memory_max: 1e9", "a size such as 512M"),
        ("memory_max: 0", "at least 1M"),
        ("memory_max: 4K", "at least 1M"),
        ("memory_max: 2000T", "at most 1024T"),
        ("memory_max: 101%", "a percentage from above 0 to 100"),
        ("memory_max: 0%", "a percentage from above 0 to 100"),
        ("memory_max: [1G]", "must be one value"),
        ("memory_max:", "has no value"),
        ("memory_max: ~", "YAML reads this as nothing"),
        ("memory_max: yes", "YAML reads this as true or false"),
        ("memory_low: max", "a size such as 512M"),
        ("cpu_weight: 0", "a whole number from 1 to 10000"),
        ("cpu_weight: 10001", "a whole number from 1 to 10000"),
        ("cpu_weight: 1.5", "a whole number from 1 to 10000"),
        ("cpu_weight: '100'", "without quotes"),
        ("cpu_weight: 0x10", "a whole number from 1 to 10000"),
        ("pids_max: 99999999999999999999", "a whole number from 1 to 4194304, or max"),
        ("max_calls: {}", "must be one value"),
        ("priority: urgent", "one of high, normal, low"),
        ("match: [a]", "must be a mapping"),
        ("match: {uid: root}", "a whole number from 0 to 4294967294"),
        ("match: {name: []}", "a list of 1 to 32 values"),
        ("match: {name: [a, [b]]}", "must be one value"),
        ("match: {name: ''}", "a pattern of 1 to 256 characters"),
        ("match: {labels: {}}", "1 to 16 labels"),
        ("match: {labels: gold}", "must be a mapping"),
        ("match: {command: make}", "unknown key"),
    ],
)
def test_wrong_values_of_a_session_rule(setting: str, rule: str) -> None:
    """A value that breaks its rule gives one mistake that states the rule."""
    found = mistakes(f"version: 1\nsessions:\n  - {setting}\n")
    assert len(found) == 1
    assert found[0].startswith("p.yaml:3:")
    assert rule in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "calls: [{memory_margin: 0.5}]",
        "calls: [{memory_margin: 17}]",
        "calls: [{match: {category: tests}}]",
        "calls: {memory: 1G}",
        "calls: [memory]",
        "admission: {wait: [high]}",
        "admission: {wait_max: 1h}",
        "admission: {wait_max: -1s}",
        "admission: []",
        "host: {memory_max: 1G, memory_reserve: 2G}",
        "ladder: {reclaim_below: 30%, reclaim_until: 20%}",
        "ladder: {stall_until: 30%, stall_above: 20%}",
        "ladder: {enabled: maybe}",
        "ladder: {freeze_max: 2h}",
        "sessions: [{steps: [none, kill]}]",
        "sessions: [{cpu_max: 150%}]",
        "users: [{memory_max: 1}]",
        "tenants: [{match: {label: x}}]",
        "version: 1",
        "version: '1'",
    ],
)
def test_wrong_sections(text: str) -> None:
    """What does not fit its section is one mistake (here also: `version` given twice)."""
    assert len(mistakes(f"version: 1\n{text}\n")) == 1


@pytest.mark.parametrize(
    ("settings", "lower", "upper"),
    [
        ("memory_high: 2G, memory_max: 1G", "memory_high", "memory_max"),
        ("memory_low: 2G, memory_high: 1G", "memory_low", "memory_high"),
        ("memory_low: 60%, memory_max: 50%", "memory_low", "memory_max"),
        ("runtime_memory_low: 2G, memory_max: 1G", "runtime_memory_low", "memory_max"),
    ],
)
def test_a_rule_that_contradicts_itself(settings: str, lower: str, upper: str) -> None:
    """A lower bound above its upper bound is a mistake at the lower one."""
    (found,) = mistakes(f"version: 1\nsessions:\n  - {{{settings}}}\n")
    assert f"sessions[0].{lower}:" in found
    assert f"more than {upper}" in found


def test_what_cannot_be_compared_is_no_contradiction() -> None:
    """A size and a share compare only on a machine; there the smaller maximum wins."""
    assert mistakes("version: 1\nsessions: [{memory_high: 2G, memory_max: 10%}]\n") == []
    assert mistakes("version: 1\nhost: {memory_reserve: 20%, memory_max: 10%}\n") == []


def test_a_rule_that_sets_the_priority_asks_for_the_asked_one() -> None:
    """Setting the priority of those that have a priority would go round in a circle."""
    rule = "{match: {priority: high}, priority: low}"
    (found,) = mistakes(f"version: 1\nsessions: [{rule}]\n")
    assert "asked_priority" in found
    rule = "{match: {asked_priority: high}, priority: low}"
    assert mistakes(f"version: 1\nsessions: [{rule}]\n") == []


def test_a_key_given_twice_names_the_first() -> None:
    """A repeated key is a mistake at the second, which names the line of the first."""
    found = mistakes("version: 1\nhost:\n  memory_max: 1G\n  memory_max: 2G\n")
    assert found == ["p.yaml:4:3: host.memory_max: given twice; first in line 3"]


def test_version_is_asked_for() -> None:
    """A file with rules says which version of the language it is written in."""
    assert mistakes("host: {}\n") == [
        "p.yaml:1:1: version: missing: begin the file with 'version: 1'"
    ]
    assert "this agentcg reads version 1" in mistakes("version: 2\n")[0]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "version: 1\n"])
def test_an_empty_file_is_right(text: str) -> None:
    """A file without rules is allowed: the defaults stay."""
    assert mistakes(text) == []
