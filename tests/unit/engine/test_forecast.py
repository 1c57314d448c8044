# SPDX-License-Identifier: Apache-2.0
"""How long a call will still run and what it will hold, from what earlier ones took."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.engine.forecast import (
    POOL_KEPT,
    POOLS_KEPT,
    Pools,
    Sample,
    forecast,
    pool,
    pooled,
    samples,
)
from agentcg.daemon.engine.history import EMPTY, Outcome, learn
from agentcg.policies import CATEGORIES

MIB = 1 << 20
QUICK = Sample(1.0, 20 * MIB)
LONG = Sample(40.0, 600 * MIB)


def test_the_sessions_own_calls_count_most() -> None:
    """Eight own calls of 40 s against a hundred others of 1 s: about 40 s; with one own call the
    others decide."""
    own = forecast([LONG] * 8, [QUICK] * 100, None)
    assert (own.remaining_s.p50, own.peak_bytes.p50) == (40.0, 600 * MIB)
    few = forecast([LONG], [QUICK] * 100, None)
    assert (few.remaining_s.p50, few.peak_bytes.p50) == (1.0, 20 * MIB)
    assert (own.own, own.pooled) == (8, 100)


def test_the_latest_calls_count_more() -> None:
    """Four short calls after four long ones: a short one is expected."""
    assert forecast([LONG] * 4 + [QUICK] * 4, [], None).remaining_s.p50 == 1.0
    assert forecast([QUICK] * 4 + [LONG] * 4, [], None).remaining_s.p50 == 40.0


def test_a_call_that_runs_long_is_like_those_that_did() -> None:
    """Nine of ten are quick; after 5 s the rest is that of the long ones, and so is the peak."""
    kind = [QUICK] * 9 + [LONG]
    assert forecast(kind, [], None).remaining_s.p50 == 1.0
    after = forecast(kind, [], None, elapsed_s=5.0)
    assert after.remaining_s.p50 == 35.0
    assert after.peak_bytes.p50 == 600 * MIB


def test_beyond_all_that_was_seen_a_call_takes_as_long_again() -> None:
    """After 100 s and with 900M: as much again at the median, and more is possible."""
    found = forecast([QUICK] * 16, [QUICK] * 9, None, elapsed_s=100.0, held_bytes=900 * MIB)
    assert found.remaining_s.p50 == 100.0
    assert found.peak_bytes.p50 >= 900 * MIB
    assert found.remaining_s.p90 >= 900.0


def test_nothing_known_is_what_the_policy_assumes() -> None:
    """Of a first call the 99% peak is the assumed need."""
    assert forecast([], [], 250 * MIB).peak_bytes.p99 == 250 * MIB


def test_calls_whose_memory_was_not_counted_tell_their_time() -> None:
    """The peak is what the policy assumes, or what others held; never less than is held."""
    blind = [Sample(9.0, None)] * 16
    assert forecast([], blind, 250 * MIB).remaining_s.p50 == 9.0
    assert forecast([], blind, 250 * MIB).peak_bytes.p99 == 250 * MIB
    assert forecast([QUICK] * 16, blind, None).peak_bytes.p50 == 20 * MIB
    assert forecast([], blind, None, elapsed_s=1.0, held_bytes=MIB).peak_bytes.p50 >= MIB


def test_a_kind_keeps_times_beside_peaks() -> None:
    """Calls as a session's history has them; an older one without times says nothing."""
    past = learn(EMPTY, Outcome("Bash", "test", 20 * MIB, wall_s=1.5), 0.0)
    past = learn(past, Outcome("Bash", "test", 30 * MIB, wall_s=2.5), 0.0)
    assert samples(past.of("Bash", "test")) == [Sample(1.5, 20 * MIB), Sample(2.5, 30 * MIB)]
    assert samples(None) == []


def test_pools_are_bounded_and_fall_back_to_any_client() -> None:
    """The latest calls of each client and category are kept; a client with few takes all."""
    pools: Pools = {}
    for number in range(POOL_KEPT + 10):
        pools = pool(pools, "a", "test", Sample(float(number), 0))
    assert len(pools["a", "test"]) == POOL_KEPT
    assert pooled(pools, "a", "test")[-1].wall_s == POOL_KEPT + 9
    assert pooled(pool(pools, "b", "test", QUICK), "b", "test")[-1] == QUICK
    for number in range(POOLS_KEPT + 10):
        pools = pool(pools, f"c{number}", CATEGORIES[number % len(CATEGORIES)], QUICK)
    assert len(pools) == POOLS_KEPT


drawn = st.lists(st.builds(Sample, st.floats(0, 1e5), st.integers(0, 1 << 45)), max_size=20)


@given(
    drawn, drawn, st.none() | st.integers(1, 1 << 40), st.floats(0, 1e5), st.integers(0, 1 << 45)
)
def test_quantiles_are_in_order_and_never_below_what_is_seen(
    own: list[Sample], others: list[Sample], assumed: int | None, elapsed_s: float, held: int
) -> None:
    """Whatever earlier calls took."""
    found = forecast(own, others, assumed, elapsed_s=elapsed_s, held_bytes=held)
    for spread in (found.remaining_s, found.peak_bytes):
        assert list(spread) == sorted(spread)
    assert found.remaining_s.p50 >= 0
    assert found.peak_bytes.p50 >= held


@pytest.mark.parametrize("elapsed_s", [0.0, 1.0, 10.0, 100.0])
def test_what_is_foreseen_covers_what_comes(elapsed_s: float) -> None:
    """Of calls that are like the known ones, 0.1 to 1,000 s evenly in their logarithm, about 50,
    90 and 99% end within the quantiles."""
    known = [Sample(10 ** (n / 100 * 4 - 1), MIB) for n in range(100)]
    found = forecast([], known, None, elapsed_s=elapsed_s).remaining_s
    rest = [10 ** (n / 999 * 4 - 1) - elapsed_s for n in range(1000)]
    rest = [one for one in rest if one > 0]
    for share, limit in zip((0.5, 0.9, 0.99), found, strict=True):
        assert abs(sum(one <= limit for one in rest) / len(rest) - share) < 0.1
