# SPDX-License-Identifier: Apache-2.0
"""Settings of clients: merged, never harmed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from agentcg.daemon.cli import settings_file
from agentcg.daemon.cli.app import app
from agentcg.daemon.cli.settings_file import SettingsFile
from agentcg.daemon.hooks.settings import LAYOUTS, parse, put_in, take_out, written
from agentcg.errors import AgentcgError, InvalidInput

OURS = ["/opt/agentcg/bin/agentcg-hook", "claude-code"]
THEIRS: dict[str, Any] = {"type": "command", "command": "lint-hook --agentcg", "timeout": 60}
OLD = {"type": "command", "command": "'/home/ada l/bin/agentcg' hook claude-code", "timeout": 5}


def commands(settings: Any, event: str) -> list[str]:
    return [entry["command"] for group in settings["hooks"][event] for entry in group["hooks"]]


def test_hooks_are_put_beside_others() -> None:
    """Those of others stay, in their order, and come first."""
    before = {"model": "opus", "hooks": {"PreToolUse": [{"matcher": "Edit", "hooks": [THEIRS]}]}}
    after = put_in(before, "claude-code", OURS, 30)
    assert after["model"] == "opus"
    assert after["hooks"]["PreToolUse"][0] == before["hooks"]["PreToolUse"][0]  # type: ignore[index]
    ours = after["hooks"]["PreToolUse"][1]["hooks"][0]
    assert ours["timeout"] > 30
    assert [ours["command"], *ours["args"]] == [*OURS, "--wait", "30"]
    assert set(after["hooks"]) == set(LAYOUTS["claude-code"].events)


def test_client_waits_only_for_hooks_that_answer() -> None:
    """What is over needs no word to the model, and costs the turn nothing."""
    hooks = put_in({}, "claude-code", OURS, 0)["hooks"]
    beside = {event for event, (group,) in hooks.items() if group["hooks"][0].get("async")}
    assert beside == {"PostToolBatch"}


def test_older_hooks_of_ours_are_replaced() -> None:
    """Wherever they were installed, also in a group with others."""
    before = {"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [OLD, THEIRS]}]}}
    after = put_in(before, "claude-code", OURS, 0)
    assert commands(after, "PreToolUse") == [THEIRS["command"], OURS[0]]
    after = put_in(after, "claude-code", ["/new/agentcg", "hook", "claude-code"], 0)
    assert commands(after, "PreToolUse") == [THEIRS["command"], "/new/agentcg hook claude-code"]


def test_a_client_starts_the_program_itself_where_it_can() -> None:
    """Claude Code does, from `args`; others by a shell, for which the words are quoted. So does
    it where there is no compiled hook: a version without `args` would start `agentcg` alone. And
    with --stay, without which the agent would be moved."""
    hook = ["/a b/agentcg-hook", "x", "-y"]
    for client, words, started in (
        ("claude-code", hook, {"command": hook[0], "args": hook[1:]}),
        ("claude-code", [*hook, "--stay"], {"command": "'/a b/agentcg-hook' x -y --stay"}),
        ("codex", hook, {"command": "'/a b/agentcg-hook' x -y"}),
        ("claude-code", ["agentcg", "hook"], {"command": "agentcg hook"}),
    ):
        entry = put_in({}, client, words, 0)["hooks"]["Stop"][0]["hooks"][0]
        assert entry == {"type": "command", **started, "timeout": 5}


NAMES = st.sampled_from(["PreToolUse", "Stop", "Notification", "x"])
ENTRIES = st.sampled_from([THEIRS, {"type": "command", "command": "true"}, {"type": "http"}, 7])
GROUP = st.fixed_dictionaries({"hooks": st.lists(ENTRIES, max_size=3)})
GROUPS = st.lists(GROUP, min_size=1, max_size=3)
SETTINGS = st.fixed_dictionaries(
    {"env": st.dictionaries(st.text(), st.text())},
    optional={"hooks": st.dictionaries(NAMES, GROUPS, min_size=1)},
)


@given(SETTINGS, st.sampled_from(["claude-code", "codex"]))
def test_putting_in_can_be_undone_and_repeated(settings: dict[str, Any], client: str) -> None:
    """Twice is once, and what was taken out again leaves what was there."""
    once = put_in(settings, client, OURS, 30)
    assert put_in(once, client, OURS, 30) == once
    assert take_out(once) == settings
    assert parse(written(once, ""), "x") == once


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, // why\n "b": 2}', "plain JSON"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": -1e999}', "-1e999 is no number that can be kept"),
        ('{"a": 1e-99999999999999999999999}', "1e-99999999999999999999999 is no number"),
        ('{"a": 0.12345678901234567890}', "0.12345678901234567890 is no number"),
        ("[]", "a JSON object"),
        ("{", "plain JSON"),
        ("[" * 100_000, "plain JSON"),
        ('{"hooks": []}', "hooks: .* a JSON object"),
        ('{"hooks": {"Stop": {}}}', "hooks.Stop: .* a list"),
        ('{"hooks": {"Stop": [7]}}', r"hooks.Stop\[0\]: .* a JSON object"),
        ('{"hooks": {"Stop": [{"hooks": "x"}]}}', r"hooks.Stop\[0\].hooks: .* a list"),
    ],
)
def test_settings_that_would_suffer_are_left_alone(text: str, said: str, tmp_path: Path) -> None:
    """Comments, keys twice, numbers too large or too long, other types: it is said what and where,
    and nothing is written."""
    with pytest.raises(InvalidInput, match=said):
        put_in(parse(text, "settings"), "claude-code", OURS, 30)
    path = tmp_path / "settings.json"
    path.write_text(text)
    done = CliRunner().invoke(app, ["install-hooks", "claude-code", "--file", str(path)])
    assert done.exit_code == 2
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", [{"pre_tool_use": []}, {"hooks": {"stop": []}}])
def test_other_form_of_openhands_is_left_alone(before: dict[str, Any]) -> None:
    """OpenHands would pass over, or refuse, what is there."""
    with pytest.raises(InvalidInput, match=r"below .hooks."):
        put_in(before, "openhands", OURS, 30)


@pytest.mark.parametrize("indent", [2, 4, "\t"])
def test_indentation_stays(indent: Any) -> None:
    """A file that people edit looks as before."""
    text = json.dumps({"a": {"b": "ü"}}, indent=indent, ensure_ascii=False)
    assert written(parse(text, "x"), text) == text


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home, in which the hook has been compiled."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    program = tmp_path / ".local/share/agentcg/bin/agentcg-hook"
    program.parent.mkdir(parents=True)
    program.touch()
    return tmp_path


def install(*words: str) -> str:
    done = CliRunner().invoke(app, ["install-hooks", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_install_and_remove(home: Path) -> None:
    """A link is followed, the mode is kept, there is a back-up, and it comes out again."""
    real = home / "dotfiles.json"
    real.write_text('{"model": "opus"}')
    real.chmod(0o600)
    (home / ".claude").mkdir()
    link = home / ".claude/settings.json"
    link.symlink_to(real)
    assert "-{\n" not in install("claude-code", "--dry-run")
    assert real.read_text() == '{"model": "opus"}'
    assert "hooks installed" in install("claude-code")
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    backup = home / "dotfiles.json.agentcg-backup"
    assert backup.read_text() == '{"model": "opus"}'
    assert backup.stat().st_mode & 0o777 == 0o600
    assert "nothing to change" in install("claude-code")
    assert "hooks removed" in install("claude-code", "--remove")
    assert json.loads(real.read_text()) == {"model": "opus"}
    assert "nothing to change" in install("claude-code", "--remove")


def test_back_up_is_what_was_there_before_our_hooks(home: Path) -> None:
    """However often they are changed, and also when they are taken out; who has removed it gets
    what there is."""
    real = home / ".claude/settings.json"
    backup = real.with_name("settings.json.agentcg-backup")
    real.parent.mkdir()
    real.write_text('{"model": "opus"}')
    install("claude-code")
    assert str(backup) in install("claude-code", "--wait", "60s")
    install("claude-code", "--remove")
    assert backup.read_text() == '{"model": "opus"}'
    real.write_text('{"model": "haiku"}')
    install("claude-code")
    assert backup.read_text() == '{"model": "haiku"}'
    backup.unlink()
    install("claude-code", "--wait", "60s")
    assert "agentcg-hook" in backup.read_text()


def test_settings_that_do_not_exist_are_made(home: Path) -> None:
    """With a note for Codex, which runs no hooks that nobody has trusted."""
    assert "trust them" in install("codex")
    assert "PreToolUse" in (home / ".codex/hooks.json").read_text()


def test_dry_run_shows_the_change(home: Path) -> None:
    """And makes none, not even a folder."""
    assert "+" in install("claude-code", "--dry-run")
    assert not (home / ".claude").exists()


def test_change_by_another_is_not_lost(tmp_path: Path) -> None:
    """Who writes between our reading and our writing wins."""
    path = tmp_path / "settings.json"
    path.write_text("{}")
    found = SettingsFile(path)
    path.write_text('{"new": true}')
    with pytest.raises(AgentcgError, match="changed by another program"):
        found.replace("ours", theirs=True)
    assert path.read_text() == '{"new": true}'


def test_failed_write_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs nothing but the attempt."""
    path = tmp_path / "settings.json"
    path.write_text("{}")
    found = SettingsFile(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(settings_file.os, "fsync", full)
    with pytest.raises(AgentcgError, match="No space left"):
        found.replace("ours", theirs=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings.json"]
    assert path.read_text() == "{}"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (5 << 20)])
def test_files_that_are_no_settings(tmp_path: Path, content: bytes) -> None:
    """No text, or far too much of it: refused before anything is made of it."""
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInput):
        SettingsFile(path)


def test_unknown_clients_are_told_the_known_ones(home: Path) -> None:
    """A typing error is not a client."""
    done = CliRunner().invoke(app, ["install-hooks", "claude"])
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)


def test_pipe_is_no_settings_file(tmp_path: Path) -> None:
    """Said at once: nobody waits for whoever would write to it."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="regular file"):
        SettingsFile(tmp_path / "pipe")
