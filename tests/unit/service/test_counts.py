# SPDX-License-Identifier: Apache-2.0
"""What the scheduler and memory delay count for cgroups, kept by the daemon."""

from __future__ import annotations

import pytest

from agentcg.bpf.budgets import Delays
from agentcg.bpf.scheduler import CpuUse
from agentcg.daemon.messages import Delayed, Scheduled
from agentcg.daemon.service.accounts.counts import (
    Counted,
    Counts,
    Tally,
    delayed_of,
    scheduled_of,
    together,
)

RAN = Scheduled(run_us=1200, wait_us=300, waits=4, longest_wait_us=200, boosts=14)
HELD = Delayed(count=3, total_us=410, longest_us=200, overshoot_bytes=12)


def test_units_are_the_apis() -> None:
    """Nanoseconds of the maps are microseconds in answers; what is not counted stays unknown."""
    use = CpuUse(
        run_ns=1_200_999, wait_ns=300_000, waits=4, longest_wait_ns=200_000, boosts=14
    )  # fmt: skip
    assert scheduled_of(use) == RAN
    assert delayed_of(Delays(3, 410_000, 200_000, 12)) == HELD
    assert (scheduled_of(None), delayed_of(None)) == (None, None)


def test_several_together() -> None:
    """Sums, but the longest of the longest and the most of the most; what one of them lacks is
    the other's."""
    other = Scheduled(run_us=1, wait_us=2, waits=3, longest_wait_us=1000, boosts=0)
    assert together(RAN, other) == Scheduled(
        run_us=1201, wait_us=302, waits=7, longest_wait_us=1000, boosts=14
    )
    more = Delayed(count=1, total_us=90, longest_us=90, overshoot_bytes=50)
    assert Counted(RAN, HELD).plus(Counted(None, more)) == Counted(
        RAN, Delayed(count=4, total_us=500, longest_us=200, overshoot_bytes=50)
    )
    assert Counted().plus(Counted()) == Counted(None, None)


def test_what_was_seen_stays() -> None:
    """Loaded again, the scheduler counts from 0: what was seen before is added. Between two looks,
    and where the cgroup is not known any more, there is what was seen; closed, there is nothing."""
    tally, kernel = Tally[Scheduled](), {7: RAN}
    tally.start(kernel.get)
    assert tally.of(7) is None
    assert tally.look(7) == tally.of(7) == RAN
    tally.stop()
    assert tally.look(7) == RAN
    tally.start(kernel.get)
    assert tally.look(7) == tally.look(7) == together(RAN, RAN)
    kernel.clear()
    assert tally.close(7) == together(RAN, RAN)
    kernel[7] = RAN
    assert tally.look(7) == RAN


def test_without_a_scheduler_nothing_is_counted() -> None:
    """No zeros where nothing counts, and nothing is remembered."""
    counts = Counts()
    for found in (counts.look(1), counts.of(1), counts.of_all([1, 2], Counted()), counts.close(1)):
        assert found == Counted(None, None)


@pytest.mark.parametrize("more", [Counted(), Counted(RAN, HELD)])
def test_a_session_is_its_cgroups_together(more: Counted) -> None:
    """What was looked at of each, and what ended ones left; asking reads nothing."""
    counts = Counts()
    counts.scheduled.start({1: RAN, 2: RAN}.get)
    counts.delayed.start({1: HELD}.get)
    assert counts.of_all([1, 2, 3], more) == more
    for cgroup_id in (1, 2, 3):
        counts.look(cgroup_id)
    assert counts.of_all([1, 2, 3], more) == more.plus(Counted(together(RAN, RAN), HELD))
