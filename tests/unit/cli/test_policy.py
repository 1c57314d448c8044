# SPDX-License-Identifier: Apache-2.0
"""`agentcg policy`: mistakes by file:line:column, and what is in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.commandline import cli
from support.examples import a_health
from support.scripted_daemon import ScriptedDaemon

GOOD = "version: 1\n"
BAD = "version: 1\nsessions:\n  - match: {name: ci}\n    memory_max: 1.5X\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a good policy and one with a mistake in its fourth line."""
    directory = tmp_path / "policies.d"
    directory.mkdir()
    (directory / "10-good.yaml").write_text(GOOD)
    (directory / "20-bad.yaml").write_text(BAD)
    return directory


def test_good_file(files: Path) -> None:
    """Nothing to say, exit code 0, and no daemon is needed."""
    result = cli(Path("/absent"), "policy", "check", str(files / "10-good.yaml"))
    assert (result.exit_code, result.output) == (0, "")


def test_mistakes_have_a_position(files: Path) -> None:
    """Path, line and column, on standard output, for an editor to jump to; exit code 5."""
    bad = files / "20-bad.yaml"
    for asked in (bad, files):
        result = cli(Path("/absent"), "policy", "check", str(asked))
        assert result.exit_code == 5
        assert result.stdout.startswith(f"{bad}:4:17: ")
        assert "1.5X" in result.stdout
        assert result.stderr == "1 mistake\n"


def test_unreadable_file(files: Path) -> None:
    """Another exit code than mistakes; the other files are checked all the same."""
    result = cli(
        Path("/absent"), "policy", "check", str(files / "absent.yaml"), str(files / "20-bad.yaml")
    )
    assert result.exit_code == 1
    assert "absent.yaml: No such file" in result.stderr
    assert ":4:17:" in result.stdout


def test_show_what_is_in_force(daemon: ScriptedDaemon, files: Path) -> None:
    """The files of the directory that the daemon names, in order, then the default."""
    daemon.on("GET", "/v1/health", a_health(policy=str(files)))
    result = cli(daemon.path, "policy", "show")
    assert result.exit_code == 0
    places = [result.stdout.index(f"# --- {name}") for name in (files / "10-good.yaml", "built-in")]
    assert places == sorted(places)


def test_show_a_refused_policy(daemon: ScriptedDaemon, files: Path) -> None:
    """That what is in the files is not what is in force is said, and exit code 5."""
    daemon.on("GET", "/v1/health", a_health(policy=str(files), policy_error="20-bad.yaml:4:17: no"))
    result = cli(daemon.path, "policy", "show")
    assert result.exit_code == 5
    assert "# NOT TAKEN: 20-bad.yaml:4:17: no" in result.stdout


def test_show_the_default() -> None:
    """The built-in policy, which passes its own check."""
    result = cli(Path("/absent"), "policy", "show", "--default")
    assert result.exit_code == 0
    assert "sessions:" in result.stdout
