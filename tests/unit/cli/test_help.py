# SPDX-License-Identifier: Apache-2.0
"""Help, completion and the documentation say the same as the program."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from agentcg.daemon.cli import exits
from agentcg.daemon.cli.app import app
from support.commandline import cli, command, environment

ABSENT = Path("/absent")
SOURCES = Path(__file__).parents[3]
DOCUMENT = SOURCES / "docs/cli.md"
DOCUMENTS = [*SOURCES.glob("*.md"), *SOURCES.glob("docs/*.md")]
SHOWN = re.compile(r"(?<![\w./-])agentcg ([a-z][^`\n]*)")  # in an example or a sentence
OTHERS = re.compile(r"\s(?:#|\||&&|>|--\s).*|;.*")  # what follows is of no concern of the command
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
OPTION = re.compile(r"(?<=\s)--?[a-z][a-z-]*")


def all_commands() -> Iterator[tuple[str, ...]]:
    """Every command and sub-command."""
    yield from _below(typer.main.get_command(app), ())


def _below(node: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if words:
        yield words
    for name, inner in getattr(node, "commands", {}).items():
        yield from _below(inner, (*words, name))


COMMANDS = list(all_commands())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help(words: tuple[str, ...]) -> None:
    """-h and --help, without a daemon, at 80 columns."""
    short, long = cli(ABSENT, *words, "-h"), cli(ABSENT, *words, "--help")
    assert short.exit_code == long.exit_code == 0
    assert short.stdout == long.stdout
    assert f"Usage: agentcg {' '.join(words)}" in long.stdout
    assert max(len(line) for line in long.stdout.splitlines()) <= 95


@pytest.mark.parametrize(
    "words", [c for c in COMMANDS if c not in {("session",), ("call",), ("intent",), ("policy",),
                                               ("host",), ("sched",), ("bench",), ("replay",)}],
    ids=" ".join,
)  # fmt: skip
def test_help_has_exit_codes(words: tuple[str, ...]) -> None:
    """Who writes a script finds the codes where the options are."""
    assert "Exit codes:" in cli(ABSENT, *words, "--help").stdout


def test_overview_lists_commands_and_codes() -> None:
    """`agentcg` alone shows what there is, on standard output with -h and without."""
    shown = cli(ABSENT, "--help").stdout
    for words in COMMANDS:
        assert f"\n  {words[0]} " in shown
    for code in (exits.UNAVAILABLE, exits.FORBIDDEN, exits.PROBLEMS_FOUND):
        assert f"\n    {code}  " in shown


def test_document_covers_every_command() -> None:
    """docs/cli.md shows each command in an example."""
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [" ".join(words) for words in COMMANDS if f"agentcg {' '.join(words)}" not in text]
    assert missing == []


def shown_options() -> dict[tuple[str, ...], set[str]]:
    """All that documents show of each command's options."""
    shown = defaultdict[tuple[str, ...], set[str]](set)
    for line in SHOWN.findall("\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)):
        given = OTHERS.sub("", QUOTED.sub("", line))
        words = tuple(given.split())
        called = next((words[:n] for n in (2, 1) if words[:n] in COMMANDS), None)
        if called is not None:
            shown[called].update(OPTION.findall(given))
    return shown


def test_documents_show_no_option_that_is_not_there() -> None:
    """Whatever README.md and docs/ tell people to type exists."""
    shown = shown_options()
    assert {"--memory", "--cpu"} <= shown["run",]
    for words, options in shown.items():
        there = set(re.findall(r"--?[a-z][a-z-]*", cli(ABSENT, *words, "--help").stdout))
        assert options <= there, f"agentcg {' '.join(words)}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    """--show-completion prints a script for the shell that asks."""
    done = subprocess.run(
        command("--show-completion", shell), capture_output=True, text=True, check=False,
        env=environment(ABSENT, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"), timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert "_AGENTCG_COMPLETE" in done.stdout


def test_completion_of_words() -> None:
    """The script's question is answered with the commands and options that begin so."""
    for line, words in (("agentcg st", {"status"}), ("agentcg run --m", {"--memory"})):
        there = environment(
            ABSENT, _AGENTCG_COMPLETE="complete_bash", COMP_WORDS=line,
            COMP_CWORD=str(line.count(" ")),
        )  # fmt: skip
        done = subprocess.run(
            command(), env=there, capture_output=True, text=True, check=False, timeout=60
        )
        assert set(done.stdout.split()) == words
