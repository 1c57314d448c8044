# SPDX-License-Identifier: Apache-2.0
"""The shipped JSON Schema says what the checker says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from agentcg import policies
from agentcg.policies import SCHEMA, check_text
from agentcg.policies.language import PRIORITIES

HERE = Path(policies.__file__).parent


def test_the_file_is_the_language() -> None:
    """schema.json is what `python -m agentcg.policies` prints from the language's tables."""
    assert json.loads((HERE / "schema.json").read_text()) == SCHEMA


def test_it_is_a_schema() -> None:
    """The schema itself is valid JSON Schema, draft 2020-12."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted(HERE.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_policies_hold(path: Path) -> None:
    """Every policy that is shipped passes the checker and the schema."""
    assert check_text(path.read_bytes(), path.name) == []
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("version: 1", True),
        ("version: 2", False),
        ("version: '1'", False),
        ("host: {}", False),
        ("{version: 1, host: {memory_max: 512M}}", True),
        ("{version: 1, host: {memory_max: 1.5GiB}}", True),
        ("{version: 1, host: {memory_max: 4194304}}", True),
        ("{version: 1, host: {memory_max: 90%}}", True),
        ("{version: 1, host: {memory_max: max}}", True),
        ("{version: 1, host: {memory_max: 1.5X}}", False),
        ("{version: 1, host: {memory_max: -1}}", False),
        ("{version: 1, host: {memory_max: true}}", False),
        ("{version: 1, host: {memory_reserve: max}}", False),
        ("{version: 1, admission: {wait: low, wait_max: 30s}}", True),
        ("{version: 1, admission: {wait: [], wait_max: 30s}}", False),
        ("{version: 1, sessions: [{match: {name: [a, b*], uid: 0}, priority: low}]}", True),
        ("{version: 1, sessions: [{match: {labels: {team: red}}, pids_max: max}]}", True),
        ("{version: 1, sessions: [{cpu_weight: 0}]}", False),
        ("{version: 1, sessions: [{cpu_weight: '5'}]}", False),
        ("{version: 1, sessions: [{match: {labels: {}}}]}", False),
        ("{version: 1, sessions: {priority: low}}", False),
        ("{version: 1, sessions: [{cpu_max: 1.5, io_weight: 50}, {cpu_max: max}]}", True),
        ("{version: 1, sessions: [{cpu_max: 150%}]}", False),
        ("{version: 1, sessions: [{cpu_max: 0}]}", False),
        ("{version: 1, sessions: [{io_weight: max}]}", False),
        ("{version: 1, sessions: [{steps: [freeze, throttle]}, {steps: none}]}", True),
        ("{version: 1, sessions: [{steps: thaw}]}", False),
        ("{version: 1, sessions: [{match: {container: a, image: b}, tenant: acme}]}", True),
        ("{version: 1, sessions: [{tenant: 'a b'}]}", False),
        ("{version: 1, ladder: {enabled: false, kill_below: 1.5%, freeze_max: 2m}}", True),
        ("{version: 1, ladder: {enabled: 'false'}}", False),
        ("{version: 1, ladder: {enabled: 1}}", False),
        ("{version: 1, ladder: {kill_below: 101%}}", False),
        ("{version: 1, ladder: {kill_below: 0.02}}", False),
        ("{version: 1, ladder: [{enabled: true}]}", False),
        ("{version: 1, users: [{match: {user: ci*, uid: 5}, memory_max: 25%}]}", True),
        ("{version: 1, users: [{match: {name: ci}}]}", False),
        ("{version: 1, tenants: [{match: {name: a*}, max_calls: 4, weight: 300}]}", True),
        ("{version: 1, tenants: {weight: 1}}", False),
        ("{version: 1, calls: [{match: {category: test, command: '*'}, memory: 1G}]}", True),
        ("{version: 1, calls: [{match: {category: tests}}]}", False),
        ("{version: 1, calls: [{memory_margin: 1.5}]}", True),
        ("{version: 1, calls: [{memory_margin: 99}]}", False),
        ("{version: 1, calls: [{colour: red}]}", False),
    ],
)
def test_schema_and_checker_agree(text: str, right: bool) -> None:
    """What an editor underlines is what the daemon refuses."""
    by_schema = jsonschema.Draft202012Validator(SCHEMA).is_valid(yaml.safe_load(text))
    assert (check_text(text, "p.yaml") == [], by_schema) == (right, right)


def test_words_are_those_of_the_api() -> None:
    """Priorities and categories are the API's, although policies do not import it."""
    from typing import get_args  # noqa: PLC0415

    from agentcg.daemon import messages  # noqa: PLC0415

    assert get_args(messages.Priority) == PRIORITIES
    assert get_args(messages.Category) == policies.CATEGORIES


def test_steps_are_those_of_the_ladder() -> None:
    """What a session's calls may be spared is what the engine can spare them."""
    from agentcg.daemon.engine import ladder_model  # noqa: PLC0415

    assert set(policies.STEPS) == ladder_model.STEPS
