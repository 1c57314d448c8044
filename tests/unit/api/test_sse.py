# SPDX-License-Identifier: Apache-2.0
"""Streams of events: how often they wake."""

from __future__ import annotations

import pytest

from agentcg.daemon.api.sse import collect_s


@pytest.mark.parametrize(("readers", "seconds"), [(1, 0.01), (1000, 0.25), (8192, 0.5)])
def test_many_readers_collect_for_longer(readers: int, seconds: float) -> None:
    """So that thousands of streams cannot take all of the daemon's time; never over 0.5 s."""
    assert collect_s(readers) == pytest.approx(seconds)
