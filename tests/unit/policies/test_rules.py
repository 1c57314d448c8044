# SPDX-License-Identifier: Apache-2.0
"""Which rule decides what, and which numbers come out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agentcg.policies import DEFAULT, STEPS, CallFacts, Policy, SessionFacts, load
from agentcg.policies.values import Memory

GIB = 1 << 30
MIB = 1 << 20
ALICE = SessionFacts(name="ci-7", uid=1000, user="alice", memory_bytes=8 * GIB)
PYTEST = CallFacts("Bash", "pytest -q", "test", "normal", 8 * GIB)


def policy(tmp_path: Path, *texts: str) -> Policy:
    """A policy of files a.yaml, b.yaml ... with these texts after `version: 1`."""
    for number, text in enumerate(texts):
        (tmp_path / f"{chr(ord('a') + number)}.yaml").write_text(f"version: 1\n{text}")
    return load(tmp_path)


def test_the_first_rule_that_has_a_setting_decides_it(tmp_path: Path) -> None:
    """Each setting is decided on its own, and says by which line."""
    rules = policy(
        tmp_path,
        "sessions:\n"
        "  - match: {name: ci-*}\n"
        "    pids_max: 100\n"
        "  - match: {user: alice}\n"
        "    pids_max: 200\n"
        "    memory_max: 1G\n",
    )
    rule = rules.session(ALICE)
    assert (rule.pids_max, rule.rules["pids_max"]) == (100, "a.yaml:4")
    assert (rule.memory_max, rule.rules["memory_max"]) == (GIB, "a.yaml:7")
    assert rule.rule == "a.yaml:7"
    assert rule.rules["max_calls"].startswith("default.yaml:")


def test_files_are_asked_in_name_order_and_the_default_last(tmp_path: Path) -> None:
    """What an earlier file says goes before a later one and before the built-in default."""
    rules = policy(
        tmp_path,
        "host: {memory_max: 50%}",
        "host: {memory_max: 10%, memory_reserve: 100M}",
    )
    host = rules.host(8 * GIB)
    assert (host.memory_max, host.reserve_bytes(4 * GIB)) == (4 * GIB, 100 * MIB)
    assert rules.files == ("a.yaml", "b.yaml", "default.yaml")
    assert rules.admission == DEFAULT.admission


def test_the_reserve_is_a_share_of_the_bound_in_force() -> None:
    """Lowering the bound at run time lowers the reserve; it never exceeds the bound."""
    host = DEFAULT.host(64 * GIB)
    assert host.memory_max == int(64 * GIB * 0.9)
    assert host.reserve_bytes(1000 * MIB) == 50 * MIB
    assert replace(host, memory_reserve=Memory(4 * GIB)).reserve_bytes(GIB) == GIB


def test_all_conditions_of_a_match_must_hold(tmp_path: Path) -> None:
    """A rule applies only if name, user, uid and every label fit."""
    rules = policy(
        tmp_path,
        "sessions: [{match: {name: [x, 'ci-?'], user: al*, uid: [0, 1000], "
        "labels: {team: red, tier: g*}}, pids_max: 7}]",
    )
    fits = replace(ALICE, labels={"team": "red", "tier": "gold", "other": "x"})
    assert rules.session(fits).pids_max == 7
    for other in (
        replace(fits, name="ci-77"),
        replace(fits, user="bob"),
        replace(fits, user=None),
        replace(fits, uid=1001),
        replace(fits, labels={"team": "red"}),
        replace(fits, labels={"team": "red", "tier": "silver"}),
    ):
        assert rules.session(other).pids_max == 4096


def test_priority_is_settled_before_the_rules_that_match_on_it(tmp_path: Path) -> None:
    """A session that asks for high but gets low falls under the rules for low."""
    rules = policy(
        tmp_path,
        "sessions:\n"
        "  - match: {priority: low}\n"
        "    pids_max: 10\n"
        "  - match: {asked_priority: high, user: alice}\n"
        "    priority: low\n",
    )
    rule = rules.session(replace(ALICE, asked_priority="high"))
    assert (rule.priority, rule.pids_max, rule.cpu_weight) == ("low", 10, 25)
    assert rules.session(replace(ALICE, asked_priority="high", user="bob")).priority == "high"


@pytest.mark.parametrize(
    ("asked", "priority", "cpu_weight"),
    [("high", "high", 400), ("normal", "normal", 100), (None, "normal", 100), ("low", "low", 25)],
)
def test_the_default_gives_the_priority_that_is_asked_for(
    asked: str | None, priority: str, cpu_weight: int
) -> None:
    """Without a site's policy everybody gets what they ask for, normal if nothing."""
    rule = DEFAULT.session(replace(ALICE, asked_priority=asked))  # type: ignore[arg-type]
    assert (rule.priority, rule.cpu_weight, rule.memory_max) == (priority, cpu_weight, None)


def test_an_asked_weight_holds_where_no_rule_says_otherwise(tmp_path: Path) -> None:
    """A rule's weight goes before the one that is asked for, which goes before 100."""
    assert DEFAULT.session(ALICE).weight == 100
    assert DEFAULT.session(replace(ALICE, asked_weight=300)).weight == 300
    rules = policy(tmp_path, "sessions: [{weight: 50}]")
    assert rules.session(replace(ALICE, asked_weight=300)).weight == 50


def test_shares_are_of_what_is_stated(tmp_path: Path) -> None:
    """A percentage of a session is of all sessions' memory, of a call of what is given."""
    rules = policy(tmp_path, "sessions: [{memory_max: 25%}]\ncalls: [{memory_high: 12.5%}]")
    assert rules.session(ALICE).memory_max == 2 * GIB
    assert rules.call(PYTEST).memory_high == GIB


def test_max_lifts_a_limit_of_the_default(tmp_path: Path) -> None:
    """`max` is an answer: it decides, and the answer is no limit."""
    rules = policy(tmp_path, "calls: [{match: {category: test}, memory_high: max, pids_max: max}]")
    rule = rules.call(PYTEST)
    assert (rule.memory_high, rule.pids_max) == (None, None)
    assert rule.rule == "a.yaml:2"


def test_limits_from_several_rules_are_kept_in_order(tmp_path: Path) -> None:
    """Where rules together say low > high > max, the smaller maximum wins."""
    rules = policy(
        tmp_path,
        "sessions:\n"
        "  - {memory_low: 4G}\n"
        "  - {memory_high: 3G}\n"
        "  - {memory_max: 2G}\n"
        "calls:\n"
        "  - {memory: 4G}\n"
        "  - {memory_high: 3G}\n"
        "  - {memory_max: 2G}\n",
    )
    session, call = rules.session(ALICE), rules.call(PYTEST)
    assert (session.memory_low, session.memory_high, session.memory_max) == (2 * GIB,) * 3
    assert (call.memory, call.memory_high, call.memory_max) == (2 * GIB,) * 3


def test_call_rules_match_on_tool_command_category_and_priority(tmp_path: Path) -> None:
    """All four must fit; a call without a command fits no command pattern."""
    rules = policy(
        tmp_path,
        "calls: [{match: {tool: Ba*, command: '*pytest*', category: [build, test], "
        "priority: [low, normal]}, pids_max: 9}]",
    )
    assert rules.call(PYTEST).pids_max == 9
    for other in (
        replace(PYTEST, tool="Zsh"),
        replace(PYTEST, command="tox"),
        replace(PYTEST, command=None),
        replace(PYTEST, category="git"),
        replace(PYTEST, priority="high"),
    ):
        assert rules.call(other).pids_max == 2048


def test_patterns_match_whole_texts_with_newlines(tmp_path: Path) -> None:
    """A pattern without stars is the whole command; a star spans lines."""
    rules = policy(
        tmp_path,
        "calls: [{match: {command: make}, pids_max: 1}, {match: {command: 'a*z'}, pids_max: 2}]",
    )
    pids = {
        text: rules.call(replace(PYTEST, command=text)).pids_max
        for text in ("make", "make all", "a\nb\nz", "A z")
    }
    assert pids == {"make": 1, "make all": 2048, "a\nb\nz": 2, "A z": 2048}


def test_a_hostile_pattern_costs_no_more_than_its_length(tmp_path: Path) -> None:
    """Many stars against a long command that almost fits end without backtracking."""
    rules = policy(tmp_path, f"calls: [{{match: {{command: '{'*a' * 120}b'}}, pids_max: 1}}]")
    assert rules.call(replace(PYTEST, command="a" * 4096)).pids_max == 2048


def test_source_tells_a_site_from_the_default(tmp_path: Path) -> None:
    """A grant can say whether its numbers come from the site's rules or ours."""
    rules = policy(tmp_path, "calls: [{match: {category: test}, memory: 1G, memory_high: 2G}]")
    assert rules.call(PYTEST).source == "policy"
    assert rules.call(replace(PYTEST, category="git")).source == "default"


@pytest.mark.parametrize(
    ("category", "need"), [("test", 250), ("install", 250), ("python", 100), ("git", 32)]
)
def test_default_needs(category: str, need: int) -> None:
    """Each kind of call is assumed to need what nearly all such calls were seen to need."""
    rule = DEFAULT.call(replace(PYTEST, category=category))
    assert rule.memory == need * MIB
    assert rule.memory_high == 4 * GIB
    assert rule.memory_max is None


def test_where_a_session_came_from_can_be_asked_for(tmp_path: Path) -> None:
    """Container by name or id, image, cgroup and unit fit patterns; unknown ones fit none."""
    rules = policy(
        tmp_path,
        "sessions:\n"
        "  - {match: {container: [web, 'ab12*']}, pids_max: 1}\n"
        "  - {match: {image: 'python:3.*'}, pids_max: 2}\n"
        "  - {match: {cgroup: '/kubepods*'}, pids_max: 3}\n"
        "  - {match: {unit: 'ci@*.service'}, pids_max: 4}\n",
    )
    seen = [
        rules.session(replace(ALICE, **facts)).pids_max  # type: ignore[arg-type]
        for facts in (
            {"container": ("web", "ff00")},
            {"container": ("ab12ff",)},
            {"image": "python:3.12"},
            {"cgroup": "/kubepods/besteffort/pod1"},
            {"unit": "ci@7.service"},
            {},
        )
    ]
    assert seen == [1, 1, 2, 3, 4, 4096]


def test_cpu_io_and_steps_of_a_session(tmp_path: Path) -> None:
    """CPUs, io.weight and what the ladder may do: everything unless a rule says otherwise."""
    rules = policy(
        tmp_path,
        "sessions:\n"
        "  - match: {name: ci-*}\n"
        "    cpu_max: 1.5\n"
        "    io_weight: 10\n"
        "    steps: [throttle, freeze]\n"
        "  - match: {name: hands-off}\n"
        "    steps: none\n",
    )
    rule = rules.session(ALICE)
    assert (rule.cpu_max, rule.io_weight, rule.steps) == (1.5, 10, {"throttle", "freeze"})
    assert rules.session(replace(ALICE, name="hands-off")).steps == frozenset()
    rule = DEFAULT.session(ALICE)
    assert (rule.cpu_max, rule.io_weight, rule.steps) == (None, 100, set(STEPS))


def test_a_rule_names_the_tenant_or_else_the_label(tmp_path: Path) -> None:
    """Where clients are not trusted the tenant follows from facts; else it is their word."""
    rules = policy(tmp_path, "sessions: [{match: {user: alice}, tenant: acme}]")
    labelled = replace(ALICE, labels={"tenant": "initech"})
    assert rules.session(labelled).tenant == "acme"
    assert rules.session(replace(labelled, user="bob")).tenant == "initech"
    assert rules.session(replace(ALICE, user="bob")).tenant is None


def test_users_and_tenants_have_caps_of_their_own(tmp_path: Path) -> None:
    """A rule holds for each user or tenant that it matches; without one there is no cap."""
    rules = policy(
        tmp_path,
        "users:\n"
        "  - {match: {uid: 1000}, memory_max: 25%, max_calls: 4}\n"
        "  - {match: {user: 'a*'}, weight: 300, memory_max: 1G}\n"
        "tenants:\n"
        "  - {match: {name: acme}, pids_max: 500}\n",
    )
    alice = rules.user(1000, "alice", 8 * GIB)
    assert (alice.memory_max, alice.max_calls, alice.weight) == (2 * GIB, 4, 300)
    assert alice.rules["weight"] == "a.yaml:4"
    assert rules.tenant("acme", 8 * GIB).pids_max == 500
    other = rules.tenant("initech", 8 * GIB)
    assert (other.memory_max, other.pids_max, other.max_calls, other.weight) == (
        (None, None, None, 100)
    )  # fmt: skip


def test_a_part_of_the_ladder_can_be_changed(tmp_path: Path) -> None:
    """What a site does not say stays as the built-in default has it."""
    changed = policy(tmp_path, "ladder: {enabled: off, kill_below: 1%, freeze_max: 3m}").ladder
    assert not changed.enabled
    assert changed == replace(
        DEFAULT.ladder, enabled=False, enter=(*DEFAULT.ladder.enter[:3], 0.01), freeze_max_s=180.0,
        rules=changed.rules,
    )  # fmt: skip
    assert changed.rules["kill_below"] == "a.yaml:2"


def test_a_policy_knows_what_the_site_asks_for(tmp_path: Path) -> None:
    """A control that nobody asks for need not be there; what a site's rule sets is asked for."""
    assert not DEFAULT.asks_for("sessions", "io_weight")
    assert policy(tmp_path, "sessions: [{io_weight: 50}]").asks_for("sessions", "io_weight")


def test_an_answer_is_kept_for_the_facts_that_rules_ask_about(tmp_path: Path) -> None:
    """What one call was answered is no answer for another command, priority or bound."""
    rules = policy(
        tmp_path,
        "calls:\n"
        "  - {match: {command: 'pytest*', priority: low}, memory_max: 50%}\n"
        "  - {match: {tool: Read}, pids_max: 7}\n",
    )
    asked = [
        PYTEST,
        replace(PYTEST, priority="low"),
        replace(PYTEST, priority="low", memory_bytes=4 * GIB),
        replace(PYTEST, priority="low", command="make"),
        replace(PYTEST, tool="Read"),
    ]
    for _ in range(2):
        found = [(rule.memory_max, rule.pids_max == 7) for rule in map(rules.call, asked)]
        assert found == [
            (None, False), (4 * GIB, False), (2 * GIB, False), (None, False), (None, True),
        ]  # fmt: skip
