# SPDX-License-Identifier: Apache-2.0
"""What is asked back from an agent that waits, when it is left alone, and when it gets it back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.engine.idle import (
    EVERY_S,
    LEFT_BYTES,
    PAGE_BYTES,
    REST_MOST_S,
    REST_S,
    STEP_LEAST_BYTES,
    Deed,
    Look,
    Window,
    decide,
)

MIB = 1 << 20
FRESH = Window()
WAITS = Look(
    priority="normal", phase="thinking", since_s=1.0, declared=True, held_bytes=240 * MIB,
    refaults=1000, stall_percent=0.0, busy_share=0.02, swap_free_bytes=1024 * MIB,
)  # fmt: skip


def at(look: Look, window: Window = FRESH, now: float = 100.0) -> tuple[Window, Deed | None]:
    """The decision, with 10 s for who says nothing and 1 s ahead of a call."""
    return decide(look, window, after_s=10.0, ahead_s=1.0, now=now)


def played(steps: int, look: Look = WAITS, share: float = 1.0) -> tuple[Window, list[int]]:
    """So many looks, half a second apart, at a session that gives so much of what is asked."""
    window, asked = Window(), []
    for number in range(steps):
        window, deed = at(look, window, 100.0 + number / 2)
        if deed is not None:
            asked.append(deed.size_bytes)
            look = replace(look, held_bytes=int(look.held_bytes - share * deed.size_bytes))
    return window, asked


def test_an_agent_that_waits_gives_most_of_what_it_holds_in_steps() -> None:
    """A third of what it holds with each step: over 60% after 1.5 s, and no end below 16M."""
    _, asked = played(4)
    assert asked[0] == 80 * MIB
    assert sum(asked) >= 0.6 * WAITS.held_bytes
    _, all_ = played(40)
    assert WAITS.held_bytes - sum(all_) >= LEFT_BYTES


@pytest.mark.parametrize(
    ("changed", "asked"),
    [
        ({"declared": False, "since_s": 9.0}, False),
        ({"declared": False, "since_s": 10.0}, True),
        ({"phase": "calling"}, False),
        ({"phase": "paused"}, False),
        ({"phase": "idle", "declared": False, "since_s": 60.0}, True),
        ({"busy_share": 0.9}, False),
        ({"swap_free_bytes": 0}, False),
        ({"swap_free_bytes": 0, "cache_bytes": 100 * MIB}, True),
        ({"held_bytes": 20 * MIB}, False),
        ({"announced_in_s": 0.9}, False),
        ({"announced_in_s": 5.0}, True),
    ],
    ids=[
        "thinking for a short while", "thinking for long", "a call runs", "paused", "idle",
        "at work", "no swap", "no swap, page cache", "holds little", "a call is near",
        "a call is far",
    ],
)  # fmt: skip
def test_whom_something_is_asked_of(changed: dict[str, object], asked: bool) -> None:
    """Of an agent that waits, and of what can be had."""
    _, deed = at(replace(WAITS, **changed))  # type: ignore[arg-type]
    assert (deed is not None) == asked


@pytest.mark.parametrize(
    "changed",
    [{"refaults": 1000 + 80 * MIB // PAGE_BYTES // 5}, {"stall_percent": 30.0}],
    ids=["touched again", "stalled"],
)
def test_who_misses_it_is_left_alone_longer_each_time(changed: dict[str, object]) -> None:
    """A fifth of a step touched again, or waiting for memory: 30 s of rest, then 60, ten minutes at
    most; a call in between does not shorten it."""
    window, _ = at(WAITS)
    now, rests = 100.5, []
    for number in range(8):
        look = replace(WAITS, **changed)  # type: ignore[arg-type]
        look = replace(look, refaults=look.refaults + number * 100_000)
        window, deed = at(look, window, now)
        assert deed is None
        rests.append(window.rest_until - now)
        window, deed = at(replace(look, phase="calling"), window, now + 1)
        assert at(look, window, window.rest_until - 0.1)[1] is None
        now = window.rest_until
        window, deed = at(replace(look, stall_percent=0.0), window, now)
        assert deed is not None
        now += 0.5
    assert rests[:3] == [REST_S, 2 * REST_S, 4 * REST_S]
    assert max(rests) == REST_MOST_S


def test_what_was_taken_is_brought_back_ahead_of_an_announced_call() -> None:
    """Once, a second before it or, since looks have a distance, a little sooner; from whom nothing
    was taken nothing is brought back; and who waits in vain is asked again."""
    window, _ = played(3)
    near = replace(WAITS, announced_in_s=1.0 + EVERY_S)
    assert at(replace(near, announced_in_s=1.1 + EVERY_S), window, 109.9)[1] != Deed("bring-back")
    window, deed = at(near, window, 110.0)
    assert deed == Deed("bring-back")
    window, deed = at(replace(near, announced_in_s=0.5), window, 110.5)
    assert deed is None
    assert at(near)[1] is None
    assert at(WAITS, window, 130.0)[1] is not None


def test_who_gives_nothing_is_not_asked_for_ever() -> None:
    """Two steps in a row that yield little end it."""
    _, asked = played(40, share=0.01)
    assert len(asked) <= 3


looks = st.builds(
    Look,
    st.sampled_from(["high", "normal", "low"]),
    st.sampled_from(["thinking", "calling", "idle", "paused"]),
    st.floats(0, 1e4), st.booleans(), st.integers(0, 1 << 34), st.integers(0, 1 << 40),
    st.none() | st.floats(0, 100), st.floats(0, 64), st.integers(0, 1 << 34),
    st.integers(0, 1 << 34), st.none() | st.floats(-1e3, 1e3),
)  # fmt: skip


@given(st.lists(st.tuples(looks, st.floats(0, 60)), max_size=30))
def test_no_more_is_asked_than_can_be_had(some: list[tuple[Look, float]]) -> None:
    """Whatever is seen: never while a call runs, never more than page cache and free swap, and
    something always stays."""
    window, now = Window(), 100.0
    for look, passed_s in some:
        now += passed_s
        window, deed = at(look, window, now)
        if deed is not None and deed.kind == "reclaim":
            assert look.phase not in ("calling", "paused")
            assert STEP_LEAST_BYTES <= deed.size_bytes <= look.held_bytes - LEFT_BYTES
            assert deed.size_bytes <= look.cache_bytes + look.swap_free_bytes
