# SPDX-License-Identifier: Apache-2.0
"""What of an account is worked out, where the kernel does not say it."""

from __future__ import annotations

import pytest

from agentcg.daemon.messages import Action
from agentcg.daemon.service.measure import frozen_us


def action(kind: str, time: float) -> Action:
    return Action(
        time=time, kind=kind, session="s", call="c", reason="", rule="", size_bytes=None,  # type: ignore[arg-type]
        room_bytes=0, bound_bytes=0, stall_percent=None, swap_free_bytes=0, held_bytes=None,
        granted_bytes=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "seconds"),
    [
        ([], 0.0),
        ([("freeze", 1.0), ("thaw", 3.0)], 2.0),
        ([("throttle", 0.5), ("freeze", 1.0), ("thaw", 3.0), ("freeze", 5.0), ("thaw", 5.5)], 2.5),
        ([("freeze", 4.0)], 6.0),
        ([("freeze", 4.0), ("freeze", 5.0), ("kill", 6.0)], 2.0),
        ([("thaw", 4.0)], 0.0),
    ],
)
def test_time_frozen_is_from_freeze_to_thaw(steps: list[tuple[str, float]], seconds: float) -> None:
    """Every freeze counts to its thaw or kill, the last one to the end (10 s)."""
    assert frozen_us([action(*step) for step in steps], 10.0) == seconds * 1e6
