# SPDX-License-Identifier: Apache-2.0
"""When intents are looked at again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from agentcg.daemon.service.intents.due import Due

SESSION: Any = SimpleNamespace(closed=False, uid=1)


def test_the_latest_word_counts_alone() -> None:
    """Said anew, sooner or later: one look, at the time that was said last."""
    due = Due()
    due.at(10.0, SESSION, "a")
    due.at(30.0, SESSION, "a")
    due.at(20.0, SESSION, "a")
    assert list(due.coming(0.0)) == [(SESSION, "a")]
    assert list(due.take(15.0, 99)) == []
    assert list(due.take(40.0, 99)) == [(SESSION, "a")]
    assert len(due) == 0


def test_what_is_no_longer_due_is_not_looked_at() -> None:
    """An intent that was taken back."""
    due = Due()
    due.at(10.0, SESSION, "a")
    due.never("a")
    assert due.of(1) == 0
    assert list(due.coming(0.0)) == list(due.take(20.0, 99)) == []


def test_it_is_bounded_by_what_counts() -> None:
    """One intent changed for ever, and those of closed sessions."""
    due, closed = Due(), SimpleNamespace(closed=False, uid=2)
    for number in range(10_000):
        due.at(1e6 + number, SESSION, "a")
        due.at(1e6, closed, f"b{number % 900}")
        assert len(due) <= 2 * 1024
    assert (due.of(1), due.of(2)) == (1, 900)
    closed.closed = True
    for number in range(2_000):
        due.at(1e6 + number, SESSION, "a")
    assert len(due) <= 1024
    assert (due.of(1), due.of(2)) == (1, 0)
