# SPDX-License-Identifier: Apache-2.0
"""What is kept of a decision."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from agentcg.daemon.engine.ladder_words import OWN_LIMIT
from agentcg.daemon.service import audit


def test_a_decision_is_kept_with_the_room_that_there_was() -> None:
    """The bound less what is held by or promised to sessions; and the time that it is now."""
    core: Any = SimpleNamespace(
        clock=lambda: 5.0, memory_bytes=lambda: 1000, registry=SimpleNamespace(committed_bytes=300)
    )
    session: Any = SimpleNamespace(name="s")
    action = audit.told(core, session, "wait", "why", "a.yaml:1")
    assert (action.time, action.session, action.call) == (5.0, "s", None)
    assert (action.room_bytes, action.bound_bytes) == (700, 1000)


def test_a_step_of_the_ladder_names_the_place_of_its_number() -> None:
    """A limit of the call's own is no number of the ladder's."""
    places = {"kill_below": "a.yaml:7"}
    assert audit.placed("kill", "ladder: kill below 1.2% of room", places).endswith("(a.yaml:7)")
    assert audit.placed("kill", OWN_LIMIT, places) == OWN_LIMIT
