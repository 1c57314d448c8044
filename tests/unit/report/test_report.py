# SPDX-License-Identifier: Apache-2.0
"""A recording: its numbers, its page, its directory, and the trace that replay plays."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentcg.daemon.messages import Curve, Point
from agentcg.daemon.replay.plan import Shape, build
from agentcg.daemon.replay.trace import parse
from agentcg.daemon.report.export import trace
from agentcg.daemon.report.page import page
from agentcg.daemon.report.recording import RecordedCall, Recording, Sample, append, load
from agentcg.daemon.report.statistics import most_at_once, quantile, rise, statistics, union
from agentcg.errors import TraceError
from support.examples import MIB, NOW, a_call, ended, with_account


def call(call_id: str, begin_s: float, end_s: float, **changes: Any) -> RecordedCall:
    """A test call from `begin_s` to `end_s` after NOW that peaked at 120M."""
    given = {"begun_at": NOW + begin_s, "ended_at": NOW + end_s} | changes
    return RecordedCall(call=msgspec.structs.replace(ended(a_call(call_id)), **given))


def sample(time_s: float, mib: int | None, cpu_s: float) -> Sample:
    size = None if mib is None else mib * MIB
    return Sample(
        time=NOW + time_s, session="reviewer", memory_bytes=size, anon_bytes=size,
        cpu_us=int(cpu_s * 1e6),
    )  # fmt: skip


RECORDING = Recording(
    calls=[
        call("aaaa", 1.0, 3.0), call("bbbb", 2.0, 4.0, exit_status=1),
        call("cccc", 8.0, 9.0, category="git", command="git </script><b> status"),
    ],
    samples=[sample(0, 100, 0), sample(2, 300, 1), sample(4, 200, 4), sample(10, 200, 4)],
)  # fmt: skip


def test_phases_gaps_and_peaks() -> None:
    """Calling is the time in which any call ran; gaps lie between; peak to average is of the
    session's memory."""
    found = statistics(RECORDING, "reviewer")
    assert (found.duration_s, found.calling_s, found.thinking_s) == (10.0, 4.0, 6.0)
    assert found.calling_share == pytest.approx(0.4)
    assert (found.calls, found.failed, found.killed, found.parallel_max) == (3, 1, 0, 2)
    assert (found.gap_p50_s, found.gap_max_s) == (4.0, 4.0)
    assert (found.memory_peak_bytes, found.memory_average_bytes) == (300 * MIB, 200 * MIB)
    assert found.peak_to_average == 1.5


def test_categories_the_longest_first() -> None:
    """Calls, time and peaks of each category."""
    test, git = statistics(RECORDING, "reviewer").categories
    assert (test.name, test.calls, test.total_s, test.p50_s) == ("test", 2, 4.0, 2.0)
    assert (git.name, git.calls, git.max_s, git.max_peak_bytes) == ("git", 1, 1.0, 120 * MIB)


def test_what_is_not_known_is_not_zero() -> None:
    """Without the memory controller there is no peak, no average and no ratio."""
    blind = Recording(
        calls=[RecordedCall(call=with_account(call("aaaa", 0, 1).call, memory_peak_bytes=None))],
        samples=[sample(0, None, 0), sample(1, None, 1)],
    )
    found = statistics(blind, "reviewer")
    assert (found.memory_peak_bytes, found.peak_to_average) == (None, None)
    assert found.burst_max_bytes is None
    assert "memory: not known" in page(blind, "x")


def test_a_burst_is_a_rise_within_a_second() -> None:
    """The most that memory rose within one second, wherever in the call."""
    levels = [(0.0, 10), (0.5, 10), (1.4, 150), (3.0, 300), (3.1, 20)]
    points = [Point(t_s=t, memory_bytes=mib * MIB, cpu_s=t) for t, mib in levels]
    curve = Curve(call="aaaa", begun_at=NOW, gap_s=0.01, points=points)
    assert rise(RecordedCall(call=a_call(), curve=curve)) == 140 * MIB


def test_spans() -> None:
    """Spans that touch or overlap are one; ones that only touch are not at once."""
    assert union([(3, 4), (0, 1), (1, 2), (3.5, 3.6)]) == [(0, 2), (3, 4)]
    assert most_at_once([(0, 1), (1, 2)]) == 1
    assert (quantile([], 0.5), quantile([1.0, 3.0], 0.5)) == (None, 2.0)


def test_nothing_of_a_command_becomes_part_of_the_page() -> None:
    """Markup in a command is text in the page, and does not end the statistics either."""
    text = page(RECORDING, "today <1>")
    assert "git &lt;/script&gt;&lt;b&gt; status" in text
    assert "<b>" not in text
    data = re.search(r'id="statistics">(.*?)</script>', text)
    assert data is not None
    (found,) = json.loads(data[1])
    assert found == msgspec.to_builtins(statistics(RECORDING, "reviewer"))


def test_the_page_needs_nothing_else() -> None:
    """No address in it is followed, and the browser is told so."""
    text = page(RECORDING, "today")
    assert not re.search(r"""(src|href|url)\s*[=(]""", text)
    assert "default-src 'none'" in text


def test_curves_reach_to_what_is_written_beside_them() -> None:
    """The most of memory and of CPU; less than one core is drawn as a part of one."""
    text = page(RECORDING, "today")
    assert "memory, up to 300M" in text
    assert "CPU, up to 1.5 cores" in text
    idle = Recording(calls=[], samples=[sample(0, 100, 0), sample(2, 100, 0.1)])
    assert "CPU, up to 1.0 cores" in page(idle, "today")


def test_a_recording_comes_back_from_its_directory(tmp_path: Path) -> None:
    """In pieces, as it was made; a last line that was cut off is left out."""
    for one in RECORDING.calls:
        append(tmp_path / "r", Recording(calls=[one]))
    append(tmp_path / "r", Recording(samples=RECORDING.samples))
    with (tmp_path / "r/calls.jsonl").open("ab") as file:
        file.write(b'{"call": {"id"')
    assert load(tmp_path / "r") == RECORDING


def test_a_damaged_recording_is_named(tmp_path: Path) -> None:
    """File and line are in the message; so is a directory without a recording."""
    (tmp_path / "samples.jsonl").write_text('{"time": 1}\n{}\n')
    with pytest.raises(TraceError, match=r"samples\.jsonl: line 1: .*session"):
        load(tmp_path)
    with pytest.raises(TraceError, match="agentcg record"):
        load(tmp_path / "empty")


def test_replay_plays_what_was_recorded() -> None:
    """The trace has the calls at their times and the session's memory, and replay reads it back
    and plans the same calls."""
    made = trace(RECORDING, "reviewer")
    again = parse(msgspec.json.encode(made), "again")
    assert again == made
    assert [(c.start_s, c.end_s, c.cat) for c in again.tool_calls] == [
        (1.0, 3.0, "test"), (2.0, 4.0, "test"), (8.0, 9.0, "git"),
    ]  # fmt: skip
    assert again.samples.memory_mib == [100.0, 300.0, 200.0, 200.0]
    assert again.samples.cpu_percent == [0.0, 50.0, 150.0, 0.0]
    plan = build(again, Shape())
    assert [one.reference for one in plan.calls] == ["aaaa", "bbbb", "cccc"]
    assert plan.duration_s == pytest.approx(10.0)


def test_a_trace_needs_samples() -> None:
    """A recording without memory says what is missing."""
    with pytest.raises(TraceError, match="0 samples with memory and CPU"):
        trace(Recording(calls=RECORDING.calls), "reviewer")
