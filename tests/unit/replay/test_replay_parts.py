# SPDX-License-Identifier: Apache-2.0
"""Shared memory, load, sources and options: parts that run anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from agentcg.daemon.replay.board import AgentWord, Board, CallWord
from agentcg.daemon.replay.command import replay
from agentcg.daemon.replay.executor import Glimpse, Patience
from agentcg.daemon.replay.load import Memory, content
from agentcg.daemon.replay.plan import Plan, Shape, Step, build
from agentcg.daemon.replay.report import progress
from agentcg.daemon.replay.sources import find
from agentcg.errors import AgentcgError, InvalidInput, TraceError
from replay_support import shell, trace


def plan() -> Plan:
    """A call of 3 chunks, then one of 2, with an agent that gains 1."""
    recorded = trace(
        [10, 10, 13, 10, 10, 12, 10, 11, 11],
        [shell("a", 1.5, 2.3), shell("b", 4.5, 5.3)],
    )
    return build(recorded, Shape())


def test_a_slow_machine_is_waited_for_as_long_as_calls_end() -> None:
    """A call ends after 9 s and another 9 s later; nothing for more than 10 s is too long."""

    def at(*done: int) -> list[Glimpse]:
        return [Glimpse("low", "t", "running", calls, 9, None) for calls in done]

    patience = Patience(10.0, 100.0)
    assert not patience.is_over(109.0, at(0, 1))
    assert not patience.is_over(118.0, at(0, 2))
    assert not patience.is_over(128.0, at(0, 2))
    assert patience.is_over(128.1, at(0, 2))


def test_a_board_keeps_what_a_killed_process_wrote() -> None:
    """The child writes and dies of SIGKILL; the parent reads it."""
    board = Board.create(plan())
    pid = os.fork()
    if pid == 0:
        board.set_call(1, CallWord.STARTED, 42)
        board.latencies(2)[0] = -7
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert board.call(1, CallWord.STARTED) == 42
    assert board.all_latencies().count(-7) == 1
    board.close()


def test_parts_of_a_board_do_not_overlap() -> None:
    """Header, records and latencies of each part have words of their own."""
    board = Board.create(plan())
    for word in AgentWord:
        board.set_agent(word, 1)
    for number in range(2):
        for word in CallWord:
            board.set_call(number, word, 2)
    for part in range(3):
        latencies = board.latencies(part)
        for index in range(len(latencies)):
            latencies[index] = 3
    assert [len(board.latencies(part)) for part in range(3)] == [1, 3, 2]
    assert board.all_latencies() == [3] * 6
    assert all(board.agent(word) == 1 for word in AgentWord)
    assert all(board.call(n, word) == 2 for n in range(2) for word in CallWord)
    board.close()


def test_load_follows_its_steps() -> None:
    """Memory rises and falls as planned, and every allocation is on the board."""
    latencies = memoryview(bytearray(8 * 6)).cast("q")
    memory = Memory(content(1 << 16), latencies)
    memory.hold(2)
    memory.play([Step(0.01, 4, 0.001), Step(0.01, 1, 0.0), Step(0.0, 3, 0.0)])
    assert memory.held == 3
    assert all(latency > 0 for latency in latencies)


def test_burning_without_memory_works() -> None:
    """A call that allocates nothing still uses CPU."""
    memory = Memory(content(1 << 16), memoryview(bytearray(8)).cast("q"))
    memory.play([Step(0.002, 0, 0.002)])
    assert memory.held == 0


def test_content_is_half_zeros_page_by_page() -> None:
    """So that compressed swap sees something like real memory."""
    made = content(3 * 4096)
    assert len(made) == 3 * 4096
    assert made[2048:4096] == bytes(2048)
    assert made[0:2048] != made[4096:6144]


def test_a_trace_is_found_by_path_and_by_name(tmp_path: Path) -> None:
    """With a directory the name alone will do, with or without the extension."""
    text = (
        b'{"task":"t","dataset":"d","run":"r","duration_s":1,"tool_calls":[],'
        b'"samples":{"t_s":[0,1],"memory_mib":[1,1],"cpu_percent":[0,0]}}'
    )
    (tmp_path / "d__t__r.json").write_bytes(text)
    assert find(str(tmp_path / "d__t__r.json")) == find("d__t__r", tmp_path)
    assert find("d__t__r.json", tmp_path).name == "d__t__r"


@pytest.mark.parametrize(
    "name", ["nothing-here", "", "../../etc", "a" * 5000, "x\0y", "gen:", "gen:a b"]
)
def test_what_names_no_trace_is_refused(name: str, tmp_path: Path) -> None:
    """Unknown, empty, too long or strange names: an error that says what would do."""
    with pytest.raises((TraceError, InvalidInput)):
        find(name, tmp_path)


def test_generated_traces_are_named_by_seed() -> None:
    """`gen:SEED` needs no file."""
    assert find("gen:abc-1").name == "generated__gen-abc-1__g1"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ([], "sessions"),
        (["--high", "gen:1"] * 65, "sessions"),
        (["--high", "gen:1", "--limit", "1.5X"], "limit"),
        (["--high", "gen:1", "--limit", "-1M"], "limit"),
        (["--high", "gen:1", "--limit", "1M"], "limit"),
        (["--high", "gen:1", "--base-extra", "NaN"], "base-extra"),
        (["--high", "gen:1", "--alloc-chunk", "1000"], "alloc-chunk"),
        (["--high", "gen:1", "--alloc-chunk", "1G"], "alloc-chunk"),
        (["--high", "gen:1", "--control", "magic"], "control"),
        (["--high", "gen:1", "--alone", "never"], "alone"),
        (["--high", "gen:1", "--json", "/nowhere/at/all.json"], "json"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_starts(options: list[str], field: str) -> None:
    """The field is named and nothing was made."""
    app = typer.Typer()
    app.command()(replay)
    outcome = CliRunner().invoke(app, options)
    assert isinstance(outcome.exception, AgentcgError)
    assert str(outcome.exception).startswith(f"{field}: ")


@pytest.mark.parametrize("speed", ["0", "nan", "-1", "1e9", "fast"])
def test_a_wrong_speed_is_a_usage_error(speed: str) -> None:
    """Zero, negative, absurd or no number at all."""
    app = typer.Typer()
    app.command()(replay)
    outcome = CliRunner().invoke(app, ["--high", "gen:1", "--speed", speed])
    assert outcome.exit_code == 2 or isinstance(outcome.exception, InvalidInput)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_time_to_clean_up(number: signal.Signals) -> None:
    """It ends the process by an exception, with the status that a shell would tell."""
    program = (
        "import os; from agentcg.daemon.replay.options import end_by_signals; end_by_signals()\n"
        f"try: os.kill(os.getpid(), {number.value})\n"
        "finally: print('cleaned up')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (128 + number, "cleaned up\n")


def test_progress_is_one_line() -> None:
    """Who runs, how far, with how much memory."""
    line = progress(
        "none, run 1 of 2",
        12.3,
        [
            Glimpse("high", "t", "running", 3, 16, 200 << 20),
            Glimpse("low", "t", "killed", 2, 5, None),
        ],
    )
    assert line == "none, run 1 of 2: 12 s | high 3/16 200M | low killed 2/5 -"
