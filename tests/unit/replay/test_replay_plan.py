# SPDX-License-Identifier: Apache-2.0
"""Plans: what of a recording is played, when, and that nothing is lost on the way."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.replay.plan import MIB, CallPlan, Plan, Shape, Step, build
from agentcg.daemon.replay.split import base_mib, clusters, split_cpu, split_memory
from agentcg.daemon.replay.trace import Trace, shell_span
from agentcg.errors import TraceError
from replay_support import shell, trace, traces

FINE = Shape(chunk_bytes=1 << 16)
"""Small chunks: rounding hides nothing."""


def chunks(steps: list[Step]) -> list[int]:
    """The level at the end of each step."""
    return [step.chunks for step in steps]


def test_a_call_gets_what_a_sample_shows_above_the_agent() -> None:
    """The agent holds 100 MiB, the call adds 50 and 80, and takes them with it."""
    recorded = trace([100, 100, 150, 180, 100, 100], [shell("a", 1.5, 3.2)])
    plan = build(recorded, Shape())
    (call,) = plan.calls
    assert plan.base_chunks == 100
    assert chunks(call.steps) == [50, 80, 80]
    assert [step.duration_s for step in call.steps] == pytest.approx([0.5, 1.0, 0.2])
    assert all(step.chunks == 0 for turn in plan.turns for step in turn.think)


def test_what_is_left_after_a_call_is_the_agents() -> None:
    """Memory that stays when the call is over is allocated by the agent after it."""
    recorded = trace([100, 100, 150, 130, 130, 130, 100, 100], [shell("a", 1.5, 2.4)])
    plan = build(recorded, Shape())
    assert chunks(plan.calls[0].steps) == [50, 50]
    assert chunks(plan.turns[1].think) == [30, 30, 30, 0, 0]


def test_a_sample_just_after_a_call_still_shows_it() -> None:
    """Samples lag: one taken 0.2 s after the end counts as the call's last moment."""
    recorded = trace([100, 100, 100, 190, 100, 100], [shell("a", 2.1, 2.8)])
    plan = build(recorded, Shape())
    assert chunks(plan.calls[0].steps) == [90]
    assert all(step.chunks == 0 for turn in plan.turns for step in turn.think)


def test_calls_that_are_open_together_share_a_sample() -> None:
    """Nobody knows whose memory it was: equal parts."""
    recorded = trace([100, 100, 200, 100, 100, 100], [shell("a", 1.2, 2.5), shell("b", 1.4, 2.4)])
    plan = build(recorded, Shape())
    assert [max(chunks(call.steps)) for call in plan.calls] == [50, 50]
    assert len(plan.turns) == 2


def test_a_call_waits_for_what_ended_before_it() -> None:
    """In a group of calls, one that began after another's end is triggered by that end."""
    recorded = trace(
        [100.0] * 12,
        [shell("long", 1.0, 10.0), shell("first", 2.0, 3.0), shell("second", 5.0, 6.0)],
    )
    turn = build(recorded, Shape(speed=2)).turns[0]
    assert [(call.reference, call.after, call.start_s) for call in turn.calls] == [
        ("long", None, 0.0),
        ("first", None, 0.5),
        ("second", 1, 1.0),
    ]
    assert turn.duration_s == pytest.approx(5.0)


def test_cpu_goes_to_calls_first_and_one_core_is_the_most() -> None:
    """150% in a second with a call of half a second: half to the call, half to the agent, and
    half a second of CPU cannot be played."""
    recorded = trace([100.0] * 4, [shell("a", 1.5, 2.0)], cpu_percent=[0, 0, 150, 0])
    plan = build(recorded, Shape())
    assert sum(step.cpu_s for step in plan.calls[0].steps) == pytest.approx(0.5)
    assert plan.cpu_s == pytest.approx(1.0)
    assert plan.cpu_cut_s == pytest.approx(0.5)


def test_the_base_can_be_raised() -> None:
    """`base_extra_bytes` comes on top, and changes nothing else."""
    recorded = trace([100, 100, 150, 100, 100, 100], [shell("a", 1.5, 2.4)])
    plain, raised = build(recorded, Shape()), build(recorded, Shape(base_extra_bytes=64 * MIB))
    assert raised.base_chunks == plain.base_chunks + 64
    assert raised.turns == plain.turns


def test_the_seed_moves_the_start_only() -> None:
    """Without stagger all seeds give the same plan; with it, another start."""
    recorded = trace([100.0] * 4, [shell("a", 1.5, 2.0)])
    assert build(recorded, Shape(), "1") == build(recorded, Shape(), "2")
    spread = Shape(stagger_s=60, speed=2)
    one, two = build(recorded, spread, "1"), build(recorded, spread, "2")
    assert one.delay_s != two.delay_s
    assert 0 <= one.delay_s <= 30
    assert one.turns == two.turns


def test_a_trace_that_allocates_without_end_is_refused() -> None:
    """What a plan needs of shared memory is bounded, whatever the trace says."""
    with pytest.raises(TraceError, match="allocations, more than"):
        build(trace([0.0, 1e6] * 20), FINE)


@given(traces(), st.integers(0, 99))
def test_the_same_input_gives_the_same_plan(recorded: Trace, seed: int) -> None:
    """A plan is a function of trace, shape and seed."""
    shape = Shape(stagger_s=10)
    assert build(recorded, shape, str(seed)) == build(recorded, shape, str(seed))


@given(traces(), st.floats(0.5, 200.0))
def test_speed_scales_time_and_cpu_and_leaves_memory(recorded: Trace, speed: float) -> None:
    """Twice the speed is half of every duration and CPU time, at the same levels."""
    plain, fast = build(recorded, FINE), build(recorded, Shape(speed=speed, chunk_bytes=1 << 16))
    assert fast.duration_s == pytest.approx(plain.duration_s / speed)
    assert fast.cpu_s == pytest.approx(plain.cpu_s / speed)
    assert [chunks(call.steps) for call in fast.calls] == [
        chunks(call.steps) for call in plain.calls
    ]
    assert fast.base_chunks == plain.base_chunks


@given(traces())
def test_nothing_takes_longer_or_shorter_than_recorded(recorded: Trace) -> None:
    """The turns together last as long as the recording, and each call as long as its command."""
    plan = build(recorded, FINE)
    assert plan.duration_s == pytest.approx(max(recorded.duration_s, _last_end(recorded)))
    spans = sorted(
        span for call in recorded.tool_calls if (span := shell_span(recorded, call)) is not None
    )
    durations = sorted(end_s - start_s for start_s, end_s in spans)
    assert sorted(call.duration_s for call in plan.calls) == pytest.approx(durations)


@given(traces())
def test_memory_of_every_sample_is_preserved(recorded: Trace) -> None:
    """Agent and calls add up to what was sampled, or to the base where the sample is below."""
    split = split_memory(recorded, clusters(recorded))
    for index, sampled in enumerate(recorded.samples.memory_mib):
        shares = sum(share.get(index, 0.0) for share in split.calls_mib.values())
        assert split.agent_mib[index] + shares == pytest.approx(max(sampled, split.base_mib))
    assert min(split.agent_mib) >= split.base_mib == base_mib(recorded)


@given(traces())
def test_cpu_is_preserved(recorded: Trace) -> None:
    """What is played and what is cut add up to what was recorded; no part is negative."""
    plan = build(recorded, FINE)
    times, percent = recorded.samples.t_s, recorded.samples.cpu_percent
    used_s = sum(
        (after - before) * share / 100
        for before, after, share in zip(times, times[1:], percent[1:], strict=False)
    )
    assert plan.cpu_s + plan.cpu_cut_s == pytest.approx(used_s, abs=1e-6)
    rates = split_cpu(recorded, clusters(recorded))
    assert all(0 <= rate <= 1 for rate in [*rates.call_rate, *rates.agent_rate])


@given(traces())
def test_no_step_is_impossible(recorded: Trace) -> None:
    """No negative time, no negative memory, never more than one core in a step."""
    plan = build(recorded, FINE)
    for step in _steps(plan):
        assert step.duration_s >= 0
        assert step.chunks >= 0
        assert 0 <= step.cpu_s <= step.duration_s * (1 + 1e-9) + 1e-12


@given(traces())
def test_what_calls_wait_for_comes_before_them(recorded: Trace) -> None:
    """A turn can always be played: triggers are earlier calls, delays are not negative."""
    for turn in build(recorded, FINE).turns:
        for index, call in enumerate(turn.calls):
            assert call.start_s >= 0
            assert call.after is None or call.after < index


@given(traces())
def test_allocations_are_counted_exactly(recorded: Trace) -> None:
    """The room for latencies is what is allocated, chunk by chunk."""
    for call in build(recorded, FINE).calls:
        assert call.allocations == _rises(call)


def _rises(call: CallPlan) -> int:
    levels = [0, *chunks(call.steps)]
    return sum(max(0, b - a) for a, b in pairwise(levels))


def _steps(plan: Plan) -> list[Step]:
    thought = [step for turn in plan.turns for step in turn.think]
    return thought + [step for call in plan.calls for step in call.steps]


def _last_end(recorded: Trace) -> float:
    ends = [span[1] for call in recorded.tool_calls if (span := shell_span(recorded, call))]
    return max(accumulate(ends, max), default=0.0)
