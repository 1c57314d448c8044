# SPDX-License-Identifier: Apache-2.0
"""The event bus: a ring that readers follow at their own speed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.service import bus as bus_module
from agentcg.daemon.service.bus import Bus
from agentcg.daemon.service.kept import Source


def everything(_: Source) -> bool:
    return True


def of_seven(source: Source) -> bool:
    return source[0] in (None, 7)


def bus(kept: int = 4) -> Bus:
    return Bus(lambda: 1000.0, kept=kept)


def test_ids_grow_by_one_from_the_time_of_start() -> None:
    """A later daemon's ids are larger than an earlier one's, without being stored."""
    one = bus()
    for _ in range(3):
        one.publish("pressure")
    events = one.after(one.last_id - 3, everything)
    assert [event.id for event in events] == [1_000_000_001, 1_000_000_002, 1_000_000_003]


def test_reader_gets_what_comes_after_it_was_made() -> None:
    """Without a position a reader starts from now."""
    one = bus()
    one.publish("daemon.started")
    reader = one.reader(everything)
    one.publish("pressure", "a")
    assert [event.text for event in reader.take()] == ["a"]
    assert list(reader.take()) == []


def test_filter_hides_events_and_moves_on() -> None:
    """What a reader may not see is skipped, not kept for later."""
    one = bus()
    reader = one.reader(of_seven)
    one.publish("call.begun", "theirs", owner=8)
    one.publish("call.begun", "mine", owner=7)
    one.publish("pressure", "everybody's")
    assert [event.text for event in reader.take()] == ["mine", "everybody's"]


@given(published=st.integers(0, 12), kept=st.integers(1, 5), taken=st.integers(0, 12))
def test_nothing_is_lost_silently(published: int, kept: int, taken: int) -> None:
    """A reader sees every event after its position, or a gap event that says up to where not."""
    one = bus(kept)
    start = one.last_id
    for _ in range(published):
        one.publish("pressure")
    position = start + min(taken, published)
    got = list(one.reader(everything, position).take())
    if got and got[0].kind == "events.lost":
        assert position < got[0].id == got[1].id - 1
        got = got[1:]
        assert len(got) == kept
    else:
        assert len(got) == published - min(taken, published)
    assert [event.id for event in got] == list(range(one.last_id - len(got) + 1, one.last_id + 1))


def test_one_session_s_flood_costs_another_nothing() -> None:
    """Two programs of one user: whoever follows the quiet one can resume, the other is told."""
    one = bus(kept=4)
    start = one.last_id
    one.publish("call.begun", "quiet", session="quiet", owner=7)
    for _ in range(10):
        one.publish("call.begun", "noisy", session="noisy", owner=7)
    quiet = one.after(start, lambda source: source[1] == "quiet")
    assert [event.text for event in quiet] == ["quiet"]
    noisy = one.after(start, lambda source: source[1] == "noisy")
    assert [event.kind for event in noisy] == ["events.lost"] + 4 * ["call.begun"]
    both = one.after(start, everything)
    assert [event.kind for event in both] == ["call.begun", "events.lost"] + 4 * ["call.begun"]
    assert [event.id for event in both] == [start + n for n in (1, 7, 8, 9, 10, 11)]


def test_a_user_s_many_sessions_cost_another_user_nothing() -> None:
    """Beyond the bound over all, who has most loses first; nobody loses unheard."""
    one = Bus(lambda: 1000.0, kept=4, total=32)
    start = one.last_id
    one.publish("call.begun", "theirs", session="theirs", owner=8)
    for number in range(100):
        one.publish("call.begun", session=f"mine{number}", owner=7)
    assert [event.text for event in one.after(start, lambda source: source[0] == 8)] == ["theirs"]
    mine = one.after(start, of_seven)
    assert mine[0].kind == "events.lost"
    assert 16 < len(mine) <= 32


def test_whose_events_were_lost_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where that is forgotten, everybody is told of a gap: too often rather than never."""
    monkeypatch.setattr(bus_module, "_LOSSES_KEPT", 8)
    one = Bus(lambda: 1000.0, kept=4, total=8)
    start = one.last_id
    for number in range(100):
        one.publish("call.begun", session=f"mine{number}", owner=7)
    assert len(one._lost) <= 8
    assert one.after(start, lambda source: source[1] == "mine0")[0].kind == "events.lost"


def test_position_from_the_future_is_now() -> None:
    """An id of another host's daemon, beyond ours, neither fails nor repeats anything."""
    one = bus()
    one.publish("pressure")
    assert list(one.reader(everything, one.last_id + 10).take()) == []


async def test_waiting_reader_is_woken_by_news_alone() -> None:
    """`wait` is False after its timeout and True as soon as something was published."""
    one = bus()
    with one.reader(everything) as reader:
        assert not await reader.wait(0.01)
        one.publish("pressure")
        assert await reader.wait(10)
    one.publish("pressure")
    assert len(list(reader.take())) == 2


def test_reader_is_not_woken_by_what_it_may_not_see() -> None:
    """A flood of another user's events neither wakes a reader nor makes it fall behind."""
    one = bus(kept=4)
    reader = one.reader(of_seven)
    with reader:
        for _ in range(10):
            one.publish("call.begun", "theirs", owner=8)
        assert not reader.news.is_set()
        one.publish("call.begun", "mine", owner=7)
        assert reader.news.is_set()
        assert [event.text for event in reader.take()] == ["mine"]
    assert one.readers == 0
