# SPDX-License-Identifier: Apache-2.0
"""docs/policy.md says what is true."""

from __future__ import annotations

import re
from pathlib import Path

from agentcg.policies import CATEGORIES, DEFAULT, SessionFacts, check, check_text
from agentcg.policies.language import SECTIONS
from agentcg.policies.rules import deciding

TEXT = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()


def rows(section: str) -> dict[str, str]:
    """The table rows of one section's chapter, by their first column."""
    chapter = TEXT.split(f"\n## `{section}`")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", chapter, re.MULTILINE))


def test_every_example_holds() -> None:
    """Each YAML block passes the check."""
    examples = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        assert check_text(example, "example") == []


def test_every_key_is_described() -> None:
    """Each section's tables list exactly its keys and its matches."""
    for section in SECTIONS:
        keys = {key.name for key in (*section.settings, *section.match)}
        keys |= {"labels"} if section.labels else set()
        keys |= set(CATEGORIES) if section.name == "calls" else set()
        assert set(rows(section.name)) == keys


def test_stated_defaults_are_the_defaults() -> None:
    """The defaults in the tables are those of the built-in policy."""
    calls, sessions = rows("calls"), rows("sessions")
    session = DEFAULT.session(SessionFacts("s", 0, 1 << 40))
    assert f"| {session.pids_max} |" in sessions["pids_max"]
    assert f"| {session.max_calls} |" in sessions["max_calls"]
    assert f"| {DEFAULT.admission.wait_max_s:g}s |" in rows("admission")["wait_max"]
    for name, value in (("memory_margin", "1.5"), ("memory_high", "50%"), ("pids_max", "2048")):
        assert f"| {value} |" in calls[name]


def test_stated_figures_of_the_ladder_are_the_defaults() -> None:
    """Every key of the ladder is documented with the figure that the built-in policy has."""
    stated = rows("ladder")
    for name, setting in deciding(DEFAULT.ordered, "ladder").items():
        assert setting.text in stated[name].split("|")[1], name


def test_mistakes_look_as_shown(tmp_path: Path) -> None:
    """The lines of the chapter on mistakes are what the check prints."""
    shown = re.findall(r"^    (50-site\.yaml:.*)$", TEXT, re.MULTILINE)
    text = (
        "version: 1\n\nhost:\n       memory_max: 1.5X\nsessions:\n  - memry_max: 1G\n\n"
        "  - memory_max: 1G\n    memory_high: 2G\n"
    )
    assert [str(mistake) for mistake in check_text(text, "50-site.yaml")] == shown[:3]
    text = (
        "version: 1\nsessions:\n\n  - pids_max: 100\n\n\n  - max_calls: 1\n\n\n\n"
        "  - match: {name: a}\n    pids_max: 200\n"
    )
    (tmp_path / "50-site.yaml").write_text(text)
    assert [str(mistake) for mistake in check(tmp_path)] == shown[3:]
