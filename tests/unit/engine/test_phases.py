# SPDX-License-Identifier: Apache-2.0
"""What a session is taken to be doing, and until when."""

from __future__ import annotations

import pytest

from agentcg.daemon.engine import IntentView, PhaseView, phase


def said(kind: str, declared_at: float, expires_at: float = 900.0) -> IntentView:
    """An intent of this kind."""
    return IntentView(
        id=f"{kind}{declared_at}", session="s", kind=kind,  # type: ignore[arg-type]
        declared_at=declared_at, expires_at=expires_at,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        ({}, PhaseView("thinking", 250.0)),
        ({"now": 250.0}, PhaseView("idle")),
        ({"running": 1}, PhaseView("calling")),
        ({"running": 1, "paused": True}, PhaseView("paused")),
        ({"intents": [said("idle", 105)]}, PhaseView("idle", 900.0)),
        ({"intents": [said("idle", 99)]}, PhaseView("thinking", 250.0)),
        ({"intents": [said("idle", 105)], "running": 1}, PhaseView("calling")),
        ({"intents": [said("idle", 105), said("call", 108)]}, PhaseView("thinking", 258.0)),
        ({"intents": [said("idle", 105, 109)]}, PhaseView("thinking", 250.0)),
        ({"intents": [said("generating", 200)], "now": 300.0}, PhaseView("thinking", 350.0)),
    ],
    ids=[
        "after a call", "long after a call", "during a call", "paused", "declared idle",
        "declared idle before the call", "idle but calling", "idle taken back", "idle expired",
        "declared that the model writes",
    ],
)  # fmt: skip
def test_phases(situation: dict[str, object], expected: PhaseView) -> None:
    """The last call ended at 100; it is 110 unless stated."""
    facts: dict[str, object] = {
        "running": 0, "paused": False, "last_active_at": 100.0, "intents": [], "now": 110.0,
    }  # fmt: skip
    assert phase(**{**facts, **situation}) == expected  # type: ignore[arg-type]
