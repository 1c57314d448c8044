# SPDX-License-Identifier: Apache-2.0
"""Generated traces: repeatable, valid, and like recorded ones where it matters."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcg.daemon.replay import distributions as known
from agentcg.daemon.replay.generate import generate
from agentcg.daemon.replay.plan import Shape, build
from agentcg.daemon.replay.result import median
from agentcg.daemon.replay.split import base_mib
from agentcg.daemon.replay.trace import parse


def test_the_same_seed_gives_the_same_trace() -> None:
    """A seed is a name for a trace: same on every machine, different from its neighbour."""
    assert generate("7") == generate("7")
    assert generate("7") != generate("8")


def test_a_seed_keeps_its_meaning() -> None:
    """Figures of earlier measurements stay comparable: this seed's trace does not change."""
    trace = generate("1")
    assert (round(trace.duration_s, 3), len(trace.tool_calls)) == (325.756, 73)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_every_generated_trace_passes_the_checks_of_a_file(seed: int) -> None:
    """What is generated could have been recorded."""
    trace = generate(str(seed))
    assert parse(msgspec.json.encode(trace), "generated") == trace
    assert build(trace, Shape()).duration_s == pytest.approx(trace.duration_s, rel=0.02)


def test_generated_runs_resemble_recorded_ones() -> None:
    """Medians over sixty runs lie near the recorded ones: 271 s long, 176 MiB of base, peak
    1.4 times the average, 4.4 shell calls a minute."""
    runs = [generate(f"many-{n}") for n in range(60)]
    shell = [sum(call.tool == "Bash" for call in run.tool_calls) for run in runs]
    ratios = [
        max(run.samples.memory_mib) / (sum(run.samples.memory_mib) / len(run.samples.memory_mib))
        for run in runs
    ]
    per_minute = [60 * count / run.duration_s for count, run in zip(shell, runs, strict=True)]
    assert 200 < (median([run.duration_s for run in runs]) or 0) < 350
    assert 165 < (median([base_mib(run) for run in runs]) or 0) < 195
    assert 1.2 < (median(ratios) or 0) < 1.8
    assert 3.0 < (median(per_minute) or 0) < 7.0


@given(st.floats(0.0, 1.0))
def test_a_distribution_stays_between_its_ends(share: float) -> None:
    """Every share has a value, and larger shares have no smaller ones."""
    for kind in known.CALLS:
        for quantiles in (kind.duration_s, kind.rise_mib, kind.cpu):
            value = quantiles.at(share)
            assert quantiles.points[0][1] * 0.999 <= value <= quantiles.points[-1][1] * 1.001
            assert quantiles.at(share / 2) <= value * 1.001


def test_a_distribution_hits_its_points() -> None:
    """At a share that the table names, the value is the table's."""
    for share, value in known.GAP_S.points:
        assert known.GAP_S.at(share) == pytest.approx(value)


def test_shares_of_calls_add_up() -> None:
    """The categories are all shell calls, and drawing them follows the shares."""
    assert sum(kind.share for kind in known.CALLS) == pytest.approx(1.0, abs=0.01)
    drawn = [known.GAP_S.draw(random.Random(n)) for n in range(2000)]
    assert 3.5 < (median(drawn) or 0) < 4.8
