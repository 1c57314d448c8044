# SPDX-License-Identifier: Apache-2.0
"""How `agentcg bench memory-delay` takes what is measured."""

from __future__ import annotations

from agentcg.daemon.bench.inversion import Seen, values


def test_what_a_writer_waited_for_a_cpu_is_not_a_lock_that_is_held() -> None:
    """A write of 30 ms of which 29 were the turn of others was held up for one; as it was is told,
    too, and a wait that was not within the write makes it nothing, not less."""
    seen = Seen(wrote=[(100.0, 0.0)] * 98 + [(30_000.0, 29_000.0), (50.0, 60.0)], grace=[1.0, 7.0])
    blocked_p99, blocked_max, as_it_was_p99, grace_p50, grace_max = values(seen)
    assert (blocked_p99, blocked_max, as_it_was_p99) == (1000.0, 1000.0, 30_000.0)
    assert (grace_p50, grace_max) == (7.0, 7.0)
    assert values(Seen([(50.0, 60.0)], [1.0]))[1] == 0.0
