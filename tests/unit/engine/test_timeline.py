# SPDX-License-Identifier: Apache-2.0
"""How long a call was held back, from what was done to it."""

from __future__ import annotations

import pytest

from agentcg.daemon.engine.timeline import BY_HAND, held_back
from agentcg.daemon.messages import Action


def action(kind: str, time: float, rule: str = "") -> Action:
    return Action(
        time=time, kind=kind, session="s", call="c", reason="", rule=rule, size_bytes=None,  # type: ignore[arg-type]
        room_bytes=0, bound_bytes=0, stall_percent=None, swap_free_bytes=0, held_bytes=None,
        granted_bytes=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "held"),
    [
        ([], (0.0, 0.0, 0.0)),
        ([("throttle", 1.0), ("unthrottle", 3.0)], (2.0, 0.0, 0.0)),
        ([("throttle", 1.0), ("lease", 2.0), ("grant", 3.0)], (9.0, 0.0, 0.0)),
        ([("freeze", 1.0), ("thaw", 3.0), ("unthrottle", 4.0)], (1.0, 2.0, 0.0)),
        ([("throttle", 0.5), ("freeze", 1.0), ("thaw", 3.0), ("freeze", 5.0), ("thaw", 5.5)],
         (7.0, 2.5, 0.0)),
        ([("freeze", 4.0)], (0.0, 6.0, 0.0)),
        ([("freeze", 4.0), ("freeze", 5.0), ("kill", 6.0)], (0.0, 2.0, 0.0)),
        ([("unthrottle", 4.0)], (0.0, 0.0, 0.0)),
        ([("freeze", 4.0), ("thaw", 12.0)], (0.0, 6.0, 0.0)),
        ([("freeze", 1.0, BY_HAND), ("thaw", 3.0, BY_HAND)], (0.0, 0.0, 2.0)),
        ([("freeze", 1.0, BY_HAND), ("freeze", 2.0), ("thaw", 3.0, BY_HAND), ("thaw", 5.0),
          ("unthrottle", 6.0)], (1.0, 3.0, 1.0)),
        ([("freeze", 1.0), ("freeze", 2.0, BY_HAND), ("thaw", 3.0), ("unthrottle", 4.0),
          ("thaw", 6.0, BY_HAND)], (0.0, 2.0, 3.0)),
        ([("freeze", 4.0, BY_HAND), ("kill", 6.0)], (0.0, 0.0, 2.0)),
    ],
)  # fmt: skip
def test_each_step_lasts_until_the_next(
    steps: list[tuple[str, float] | tuple[str, float, str]], held: tuple[float, float, float]
) -> None:
    """The last one until the end (10 s). What is thawed is slowed until it has its own limits
    again; what is no step ends none; people and the ladder both have to let go. What people alone
    froze is not put down to memory."""
    assert held_back([action(*step) for step in steps], 10.0) == held
