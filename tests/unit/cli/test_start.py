# SPDX-License-Identifier: Apache-2.0
"""Starting costs little: what a command does not need it does not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from agentcg.daemon.cli import app, running
from agentcg.daemon.cli.commands import run as run_command
from agentcg.daemon.cli.running import RunOptions, command_line, parse
from support.commandline import environment

_AFTERWARDS = """
import atexit, sys
atexit.register(lambda: print(" ".join(sys.modules), file=sys.stderr))
sys.argv = ["agentcg", *{words!r}]
from agentcg.daemon.cli import main
main()
"""


def imported_by(tmp_path: Path, *words: str) -> set[str]:
    """Modules that `agentcg WORDS...` has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", _AFTERWARDS.format(words=words)], capture_output=True, text=True,
        env=environment(tmp_path / "absent"), timeout=60, check=False,
    )  # fmt: skip
    return set(done.stderr.splitlines()[-1].split())


def test_run_does_without_typer(tmp_path: Path) -> None:
    """The path of every tool call imports no command line library and nothing of the daemon."""
    modules = imported_by(tmp_path, "run", "--memory", "1G", "--", "true")
    unwanted = {"typer", "click", "rich", "asyncio", "aiohttp", "yaml", "argparse", "subprocess"}
    assert "agentcg.daemon.client.calls" in modules
    assert not modules & unwanted
    assert not any(name.startswith("agentcg.daemon.service") for name in modules)


@pytest.mark.parametrize("words", [("status", "--json"), ("version",), ("run", "--memory", "x")])
def test_other_commands_do_without_rich(tmp_path: Path, words: tuple[str, ...]) -> None:
    """rich is for painting: JSON, and plain text, are printed without it."""
    modules = imported_by(tmp_path, *words)
    assert "typer" in modules
    assert not modules & {"rich.console", "aiohttp", "asyncio", "yaml"}


SIZES = st.sampled_from(["256M", "1.5G", "1.5X", "-1", "NaN", "0", "9999999T", ""])
TIMES = st.sampled_from(["0", "5s", "500ms", "1h", "-1s", "soon"])
WORDS = st.sampled_from(["ls", "-l", "--", "--memory", "-m", "-", "", "a=b", "--strict", "--help"])
OPTIONS = st.one_of(
    st.tuples(st.sampled_from(["--memory", "-m"]), SIZES),
    st.tuples(st.just("--wait"), TIMES),
    st.tuples(st.just("--cpu"), st.sampled_from(["low", "normal", "high", "LOW", "lots"])),
    st.tuples(st.sampled_from(["--tool", "-t", "--session", "-s"]), st.sampled_from(["x", "-y"])),
    SIZES.map(lambda size: (f"--memory={size}",)),
    SIZES.map(lambda size: (f"-m{size}",)),
    st.sampled_from([("--strict",), ("--mem", "1G"), ("-x",), ("--strict=1",)]),
)


@example([("--strict=1",)], ["ls"])
@example([("-m=1G",)], ["ls"])
@example([("--mem", "1G")], ["ls"])
@example([("--tool", "-y")], ["ls", "--strict"])
@example([], ["--", "--", "ls"])
@example([], ["-"])
@given(st.lists(OPTIONS, max_size=4), st.lists(WORDS, max_size=4))
def test_quick_path_reads_as_typer_does(options: list[tuple[str, ...]], words: list[str]) -> None:
    """Whatever the quick path accepts, typer reads in the same way."""
    arguments = [word for option in options for word in option] + words
    quick = parse(arguments)
    if quick is not None:
        assert by_typer(arguments) == quick


@given(st.lists(OPTIONS, max_size=3))
def test_plain_options_take_the_quick_path(options: list[tuple[str, ...]]) -> None:
    """What typer accepts in its plain form, `--name value`, the quick path accepts, too."""
    spelled_out = all(len(option) == 2 or option == ("--strict",) for option in options)
    arguments = [*(word for option in options for word in option), "--", "ls"]
    if spelled_out and by_typer(arguments) is not None:
        assert parse(arguments) is not None


def by_typer(arguments: list[str]) -> RunOptions | None:
    """What the typer command would have executed; None if it refuses."""
    seen: list[RunOptions] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_command, "execute", lambda options, _: seen.append(options) or 0)
        CliRunner().invoke(app.app, ["run", *arguments])
    return seen[0] if seen else None


@given(st.lists(st.text(), min_size=1))
def test_command_line_fits_the_api(argv: list[str]) -> None:
    """Any command becomes a line that is bounded and that JSON can carry."""
    line = command_line(argv)
    assert len(line) <= running.COMMAND_MAX
    line.encode()
