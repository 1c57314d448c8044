# SPDX-License-Identifier: Apache-2.0
"""`agentcg bench policy`: what is played, and what becomes figures."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.policybench import mixes
from agentcg.daemon.policybench.figures import figures
from agentcg.daemon.policybench.mixes import Size
from agentcg.daemon.policybench.windows import around_peak, window
from agentcg.daemon.replay.generate import generate
from agentcg.daemon.replay.plan import Shape, build
from agentcg.daemon.replay.trace import parse
from replay_support import shell, trace
from support.commandline import cli

GENERATED = [generate(f"w{number}") for number in range(12)]
HUMP = trace(
    [50, 50, 50, 50, 50, 60, 90, 150, 90, 60, 50, 50, 50, 50, 50, 50],
    [shell("early", 1.0, 2.5), shell("peak", 5.5, 8.5), shell("late", 9.0, 15.0)],
)


def test_a_window_lies_around_the_peak() -> None:
    """8 of 16 seconds with the peak (at 7 s) in their middle: from 3 to 11 s."""
    part = around_peak(HUMP, 8.0, 0.5)
    assert part.duration_s == 8.0
    assert part.samples.t_s[0] == 0.0
    assert part.samples.memory_mib == [50, 50, 60, 90, 150, 90, 60, 50, 50]
    assert [call.id for call in part.tool_calls] == ["peak", "late"]
    assert (part.tool_calls[0].start_s, part.tool_calls[0].end_s) == (2.5, 5.5)
    assert part.tool_calls[1].end_s == 8.0  # cut


def test_a_trace_that_is_short_enough_is_played_whole() -> None:
    """Nothing is cut, nothing is shifted."""
    assert around_peak(HUMP, 100.0, 0.5) == HUMP


@given(
    number=st.integers(0, len(GENERATED) - 1),
    start=st.floats(0, 1),
    length_s=st.floats(1, 200),
)
def test_a_window_is_a_trace(number: int, start: float, length_s: float) -> None:
    """It passes all checks that files do, and a plan can be made of it."""
    whole = GENERATED[number]
    start_s = start * max(whole.duration_s - length_s, 0.0)
    part = window(whole, start_s, min(start_s + length_s, whole.duration_s))
    assert parse(msgspec.json.encode(part), "window") == part
    assert build(part, Shape()).duration_s >= part.duration_s - 1e-6
    assert max(part.samples.memory_mib) <= max(whole.samples.memory_mib)


def test_drawn_mixes_are_under_pressure_and_can_be_saved() -> None:
    """3 to 8 sessions, one of high priority; peaks 1.1 to 1.6 times the limit; agents and the
    largest call by themselves fit into it."""
    found = mixes.drawn(GENERATED, 1, 8, 60.0, 4 << 30)
    assert len(found) == 8
    for mix in found:
        sizes = [Size.of(part) for _, part in mix.sessions]
        assert 3 <= len(sizes) <= 8
        assert [priority for priority, _ in mix.sessions].count("high") == 1
        assert 1.09 <= sum(size.peak for size in sizes) / mix.limit_bytes <= 1.61
        agents = sum(size.agent for size in sizes)
        assert agents + max(size.peak - size.agent for size in sizes) <= mix.limit_bytes
    assert found == mixes.drawn(GENERATED, 1, 8, 60.0, 4 << 30)
    assert found != mixes.drawn(GENERATED, 2, 8, 60.0, 4 << 30)


def test_without_the_papers_traces_a_mix_of_the_same_peaks_is_found() -> None:
    """Its limits stand to its peaks as the paper's do to theirs."""
    first, second = mixes.paper(GENERATED)
    assert [priority for priority, _ in first.sessions] == ["high", "low", "low"]
    assert (first.demand, second.demand) == (pytest.approx(1.12), pytest.approx(0.95))


def test_with_the_papers_traces_they_are_played() -> None:
    """At the paper's own limits, with its 100 MB on top of each base."""
    own = [msgspec.structs.replace(HUMP, **_name(n)) for n in (mixes.PAPER_HIGH, mixes.PAPER_LOW)]
    first, second = mixes.paper([*GENERATED, *own])
    assert [part.name for _, part in first.sessions] == [own[0].name, own[1].name, own[1].name]
    assert (first.limit_bytes, second.limit_bytes) == (1_100_000_000, 1_300_000_000)
    assert first.base_extra_bytes == 100_000_000


def _name(name: str) -> dict[str, str]:
    dataset, organisation, task, run = name.split("__")
    return {"dataset": dataset, "task": f"{organisation}__{task}", "run": run}


def test_nothing_measured_gives_no_figures() -> None:
    """And no error: a go may end before its first piece."""
    found = figures({}, {})
    assert (found.rows, found.no_pressure_ratio, found.storm) == ([], None, None)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--json", "/absent/out.json"), "json"),
        (("--json", "OUT", "--figure", "6"), "figure"),
        (("--json", "OUT", "--budget", "soon"), "budget"),
        (("--json", "OUT", "--traces", "/absent"), "/absent"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, words: tuple[str, ...], named: str) -> None:
    """Before anything is measured."""
    out = str(tmp_path / "out.json")
    done = cli(tmp_path / "socket", "bench", "policy", *(out if w == "OUT" else w for w in words))
    assert done.exit_code != 0
    assert named in done.output


def test_a_file_of_another_measurement_is_not_gone_on_with(tmp_path: Path) -> None:
    """Figures of different options or machines must not be mixed."""
    out = tmp_path / "out.json"
    out.write_text(json.dumps({"asked": {}}))
    done = cli(tmp_path / "socket", "bench", "policy", "--json", str(out), "--traces", "gen:1",
               "--traces", "gen:2")  # fmt: skip
    assert done.exit_code != 0
    assert "another file" in done.output
