# SPDX-License-Identifier: Apache-2.0
"""What health says of single abilities."""

from __future__ import annotations

import pytest

from agentcg.daemon.service.controls import detection


@pytest.mark.parametrize(
    ("given", "state", "told"),
    [
        ((None, 0, 0, True), "enforced", ""),
        ((None, 0, 0, False), "enforced", "favordynmods"),
        ((None, 3, 0, True), "degraded", "3 sights lost"),
        ((None, 0, 2, True), "enforced", "2 calls went on in the runtime"),
        (("no BTF", 0, 0, False), "absent", "no BTF"),
    ],
)
def test_detection(given: tuple[str | None, int, int, bool], state: str, told: str) -> None:
    """Absent with the reason; degraded once anything was lost; slow moves are told of."""
    reason, lost, unplaced, quick = given
    control = detection(reason, lost, unplaced, quick=quick)
    assert control.state == state
    assert told in control.detail
    assert bool(told) is bool(control.detail)
