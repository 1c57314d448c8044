# SPDX-License-Identifier: Apache-2.0
"""The daemon's clock, while somebody sets the machine's."""

from __future__ import annotations

import time

import pytest

from agentcg.daemon.service.clock import SteadyClock


@pytest.mark.parametrize("step_s", [3600.0, -86400.0])
def test_setting_the_machines_clock_is_not_seen_until_asked_for(
    step_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on as if nothing had happened, and is right again after `follow`."""
    clock, wall = SteadyClock(), time.time
    assert clock.now() == pytest.approx(wall(), abs=60)
    monkeypatch.setattr(time, "time", lambda: wall() + step_s)
    assert clock.now() == pytest.approx(wall(), abs=60)
    clock.follow()
    assert clock.now() == pytest.approx(wall() + step_s, abs=60)
