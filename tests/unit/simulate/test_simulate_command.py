# SPDX-License-Identifier: Apache-2.0
"""`agentcg simulate`: what it takes, what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.commandline import cli

ABSENT = Path("/absent")  # no daemon is asked


def simulated(out: Path, *words: str) -> dict[str, Any]:
    """The report of a simulation of generated traces."""
    given = ("--traces", "gen:1", "--traces", "gen:2", "--json", str(out))
    done = cli(ABSENT, "simulate", *given, *words)
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(out.read_bytes())
    return report


def test_the_same_input_gives_the_same_outcome(tmp_path: Path) -> None:
    """All but what was measured; and each number of agents is played under each control."""
    words = ("--agents", "6", "--agents", "12", "--memory", "2G", "--hosts", "2")
    first, second = (simulated(tmp_path / name, *words) for name in "ab")
    assert first.pop("timings") != second.pop("timings")
    assert first == second
    assert [(one["control"], one["agents"]) for one in first["curve"]] == [
        (control, agents) for agents in (6, 12) for control in ("none", "static", "agentcg")
    ]


def test_a_policy_decides_as_in_the_daemon(tmp_path: Path) -> None:
    """Calls that may have 1M each are killed at their own limit, which the built-in has not."""
    policy = tmp_path / "tight.yaml"
    policy.write_text("version: 1\ncalls:\n  - memory_max: 1M\n")
    words = ("--agents", "2", "--memory", "8G", "--control", "agentcg")
    found = simulated(tmp_path / "tight", *words, "--policy", str(policy))["curve"][0]["all"]
    free = simulated(tmp_path / "free", *words)["curve"][0]["all"]
    assert found["calls_killed_by"]["limit"] > 0
    assert free["calls_killed"] == 0


def test_density_is_told_for_each_control(tmp_path: Path) -> None:
    """With as many agents as were found, nobody is killed."""
    words = ("--agents", "2", "--memory", "4G", "--until", "3m", "--density")
    density = simulated(tmp_path / "density", *words)["density"]
    assert [one["control"] for one in density] == ["none", "static", "agentcg"]
    for one in density:
        assert one["agents"] > 0
        if one["at"] is not None:
            assert one["at"]["all"]["agents_killed"] == one["at"]["all"]["calls_killed"] == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--agents", "0"), "agents"),
        (("--memory", "1M"), "memory"),
        (("--priorities", "huge:1"), "priorities"),
        (("--control", "magic"), "control"),
        (("--traces", "/absent"), "/absent"),
        (("--json", "/absent/out.json"), "json"),
        (("--until", "soon"), "until"),
    ],
)
def test_what_is_wrong_is_named(words: tuple[str, ...], named: str) -> None:
    """Before anything is simulated."""
    done = cli(ABSENT, "simulate", *words)
    assert done.exit_code != 0
    assert named in done.output
