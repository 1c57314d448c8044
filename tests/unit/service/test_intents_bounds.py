# SPDX-License-Identifier: Apache-2.0
"""How many intents a user may have waiting, and how often a session may declare."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.daemon.service import bounds
from agentcg.daemon.service.intents.bounds import InLine, keep_pace
from agentcg.errors import LimitExceeded


def session(uid: int = 1) -> Any:
    return SimpleNamespace(name="a", uid=uid, intents_at=0.0, intents_left=0.0)


def test_who_waits_is_counted_once_for_its_user() -> None:
    """However often an intent is said to wait, or not to wait."""
    line, one, other = InLine(), session(1), session(2)
    for _ in range(2):
        line.add(one, "a")
    line.add(other, "b")
    assert (len(line), line.of(1), line.of(2)) == (2, 1, 1)
    for _ in range(2):
        line.drop("a")
    assert (list(line), line.of(1)) == ([("b", other)], 0)


def test_those_in_line_may_leave_while_they_are_asked() -> None:
    """Whoever is answered is in line no longer."""
    line = InLine()
    for name in "abc":
        line.add(session(), name)
    for name, _ in line:
        line.drop(name)
    assert not line


def test_a_session_declares_so_many_at_once_and_then_at_its_rate() -> None:
    """What it does not use is not saved up beyond that."""
    declaring, now = session(), 1e9
    for _ in range(2):
        for _ in range(int(bounds.INTENTS_AT_ONCE)):
            keep_pace(declaring, now)
        with pytest.raises(LimitExceeded, match="'a' declares more than"):
            keep_pace(declaring, now)
        keep_pace(declaring, now + 1.5 / bounds.INTENTS_PER_S)
        now += 1e6
