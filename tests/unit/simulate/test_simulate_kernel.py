# SPDX-License-Identifier: Apache-2.0
"""The memory model: how a limit slows, whom the OOM killer takes, how processors are shared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.simulate.cpu import shares
from agentcg.daemon.simulate.kernel import (
    BATCH_BYTES,
    grown,
    seconds_to,
    slowed_from,
    victim,
)

MIB = 1 << 20


def test_no_sleep_within_a_hundredth_of_the_limit() -> None:
    """An overage of 1.25% is where the kernel's delay reaches 10 ms, the least that it sleeps."""
    assert slowed_from(100 * MIB) == pytest.approx(101.25 * MIB)


def test_a_tenth_over_costs_the_kernels_delay() -> None:
    """At 10% over, 64 pages cost 0.1^2 * 64 s = 0.64 s, and at 20% the most there is, 2 s."""
    high = 1000 * MIB
    tenth, fifth = 1.1 * high, 1.2 * high
    assert seconds_to(tenth, high, tenth + BATCH_BYTES) == pytest.approx(0.64, rel=0.01)
    assert seconds_to(fifth, high, fifth + BATCH_BYTES) == pytest.approx(2.0)


@given(
    high=st.floats(16 * MIB, 1 << 40),
    over=st.floats(0.0125, 0.5),
    seconds=st.floats(0.001, 1000),
)
def test_growth_and_its_inverse_agree(high: float, over: float, seconds: float) -> None:
    """The time to reach what is reached in a time is that time."""
    level = high * (1 + over)
    target = grown(level, high, seconds)
    assert target > level
    assert seconds_to(level, high, target) == pytest.approx(seconds, rel=1e-3, abs=1e-3)


def test_the_largest_process_is_taken() -> None:
    """Without an adjustment that is mostly the agent, not the call that grows."""
    assert victim([("agent", 300.0, 0), ("call", 200.0, 0)], 1000) == "agent"


def test_an_adjusted_call_goes_before_its_agent() -> None:
    """500 adds half of the limit."""
    assert victim([("agent", 300.0, 0), ("call", 1.0, 500)], 1000) == "call"


def test_nobody_is_taken_from_nobody() -> None:
    """An empty cgroup has no victim."""
    assert victim([], 1000) is None


def test_processors_are_shared_by_weight() -> None:
    """Two that want a core each, at 3 to 1, get three quarters and one quarter of one."""
    assert shares([(1.0, 300.0), (1.0, 100.0)], 1.0) == pytest.approx([0.75, 0.25])


def test_what_one_does_not_want_is_for_the_others() -> None:
    """The heavy one wants little: it gets all of that, and the light one the rest."""
    assert shares([(0.1, 400.0), (2.0, 25.0)], 1.0) == pytest.approx([1.0, 0.45])


@given(
    wanted=st.lists(st.tuples(st.floats(0, 8), st.floats(1, 10_000)), max_size=20),
    cpus=st.floats(0.5, 64),
)
def test_no_more_processors_are_given_than_there_are(
    wanted: list[tuple[float, float]], cpus: float
) -> None:
    """And nobody gets more than it wants."""
    got = shares(wanted, cpus)
    used = sum(cores * share for (cores, _), share in zip(wanted, got, strict=True))
    assert used <= cpus + 1e-3 * sum(cores for cores, _ in wanted) + 1e-6
    assert all(0 < share <= 1 for share in got)
