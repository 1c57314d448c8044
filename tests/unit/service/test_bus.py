# SPDX-License-Identifier: Apache-2.0
"""The event bus: a ring that readers follow at their own speed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.service.bus import Bus, Entry


def everything(_: Entry) -> bool:
    return True


def bus(kept: int = 4) -> Bus:
    return Bus(lambda: 1000.0, kept=kept)


def test_ids_grow_by_one_from_the_time_of_start() -> None:
    """A later daemon's ids are larger than an earlier one's, without being stored."""
    one = bus()
    for _ in range(3):
        one.publish("pressure")
    _, entries = one.after(0)
    assert [entry.event.id for entry in entries] == [1_000_000_001, 1_000_000_002, 1_000_000_003]


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
    reader = one.reader(lambda entry: entry.owner in (None, 7))
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
    reader = one.reader(lambda entry: entry.owner in (None, 7))
    with reader:
        for _ in range(10):
            one.publish("call.begun", "theirs", owner=8)
        assert not reader.news.is_set()
        one.publish("call.begun", "mine", owner=7)
        assert reader.news.is_set()
        assert [event.text for event in reader.take()] == ["mine"]
    assert one.readers == 0
