# SPDX-License-Identifier: Apache-2.0
"""What health says of single abilities."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.daemon.service.controls import _knob, detection


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


def test_a_controller_that_is_not_there_is_told() -> None:
    """With the cgroup that does not have it; never silently less than it seems."""
    root = SimpleNamespace(controllers={"memory"}, cgroup=SimpleNamespace(path="/x/sessions"))
    core: Any = SimpleNamespace(root=root)
    assert _knob(core, "memory.high", "memory").state == "enforced"
    absent = _knob(core, "cpu.weight", "cpu")
    assert absent.state == "absent"
    assert "the cpu controller: it is not offered at /x/sessions" in absent.detail
