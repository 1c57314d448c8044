# SPDX-License-Identifier: Apache-2.0
"""The order in which calls that wait for room begin."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.messages import Priority
from agentcg.daemon.service.waiting import Waiting

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")


class Host:
    """So much room, and calls that take of it as the service does; `begun` in their order."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.waiting = Waiting()
        self.asked = 0
        self.begun: list[str] = []
        self.full_sessions: set[str] = set()
        self.held: Counter[str] = Counter()

    async def call(self, name: str, priority: Priority, need: int) -> None:
        """Begin when there is room beside what those before it need, or in its own session. The
        first letter of its name is its user."""
        with self.waiting.place(priority, lambda: self.held[name[0]]) as place:
            while True:
                self.asked += 1
                room = self.room - place.ahead_bytes()
                if need <= room and name not in self.full_sessions:
                    break
                place.needs(need if need > room else 0)
                await place.wait(60)
        self.room -= need
        self.held[name[0]] += need
        self.begun.append(name)

    async def gives(self, size: int) -> None:
        """Room comes, and everybody has had time to take it."""
        self.room += size
        self.waiting.room_changed()
        await settled()


async def settled() -> None:
    """Until nothing has anything to do any more."""
    for _ in range(200):
        await asyncio.sleep(0)


@asynccontextmanager
async def waiting(host: Host, *calls: tuple[str, Priority, int]) -> AsyncIterator[None]:
    """These calls, begun one after the other."""
    tasks = []
    for call in calls:
        tasks.append(asyncio.create_task(host.call(*call), name=call[0]))
        await settled()
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_came_first_begins_first() -> None:
    """Room that comes bit by bit is given in the order of arrival."""
    host = Host(0)
    async with waiting(host, ("a", "low", 2), ("b", "low", 2), ("c", "low", 2)):
        for count in (1, 2, 3):
            await host.gives(2)
            assert host.begun == ["a", "b", "c"][:count]


async def test_who_has_least_begins_first() -> None:
    """A user with many calls waiting does not hold up one that has nothing yet: they take turns."""
    host = Host(0)
    calls = [
        ("a1", "low", 2),
        ("a2", "low", 2),
        ("a3", "low", 2),
        ("b1", "low", 2),
        ("b2", "low", 2),
    ]
    async with waiting(host, *calls):  # type: ignore[arg-type]
        for _ in calls:
            await host.gives(2)
        assert host.begun == ["a1", "b1", "a2", "b2", "a3"]


async def test_higher_priority_goes_before_lower() -> None:
    """A normal call that comes later is served before low ones that wait."""
    host = Host(0)
    async with waiting(host, ("a", "low", 2), ("b", "low", 2), ("c", "normal", 2)):
        await host.gives(4)
        assert host.begun == ["c", "a"]


async def test_small_calls_do_not_pass_a_large_one_for_ever() -> None:
    """What the first one waits for is taken for all behind it, also for those yet to come."""
    host = Host(1)
    async with waiting(host, ("large", "low", 3), ("small", "low", 1), ("later", "low", 1)):
        assert host.begun == []
        await host.gives(2)
        assert host.begun == ["large"]
        await host.gives(2)
        assert host.begun == ["large", "small", "later"]


async def test_higher_priority_may_pass_a_large_low_call() -> None:
    """A place counts against those behind it alone."""
    host = Host(1)
    async with waiting(host, ("large", "low", 3), ("urgent", "normal", 1)):
        assert host.begun == ["urgent"]


async def test_one_held_up_by_its_own_session_holds_up_nobody() -> None:
    """Others are asked although the first one still cannot begin."""
    host = Host(0)
    host.full_sessions.add("a")
    async with waiting(host, ("a", "low", 2), ("b", "low", 2)):
        await host.gives(2)
        assert host.begun == ["b"]


async def test_one_that_gives_up_makes_way() -> None:
    """When the large one at the front goes, the small ones behind it begin at once."""
    host = Host(1)
    async with waiting(host, ("large", "low", 3), ("small", "low", 1)):
        next(task for task in asyncio.all_tasks() if task.get_name() == "large").cancel()
        await settled()
        assert host.begun == ["small"]


async def test_news_of_room_asks_few() -> None:
    """A hundred that wait are not all asked for room that only the first few can have."""
    host = Host(0)
    async with waiting(host, *((f"c{n}", "low", 2) for n in range(100))):
        asked = host.asked
        await host.gives(4)
        assert host.begun == ["c0", "c1"]
        assert host.asked - asked <= 3


CALLS = st.lists(st.tuples(st.sampled_from(PRIORITIES), st.integers(1, 5)), max_size=8)


@given(CALLS, st.lists(st.integers(1, 5), max_size=20))
def test_all_begin_in_order_once_there_is_room(
    calls: list[tuple[Priority, int]], given_: list[int]
) -> None:
    """Whatever waits while there is no room begins by priority and arrival, and room that
    suffices for the first is never left unused."""

    async def play() -> None:
        host = Host(0)
        named = [(f"{n}", priority, need) for n, (priority, need) in enumerate(calls)]
        ordered = sorted(named, key=lambda call: (PRIORITIES.index(call[1]), int(call[0])))
        async with waiting(host, *named):
            for size in given_:
                await host.gives(size)
                assert host.begun == [name for name, _, _ in ordered][: len(host.begun)]
                left = ordered[len(host.begun) :]
                assert not left or left[0][2] > host.room >= 0

    asyncio.run(play())


def test_a_long_queue_is_asked_no_more_often_than_a_short_one() -> None:
    """Those that nobody wakes ask again each second; of many, each does so more rarely."""
    waiting = Waiting()
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(waiting.place("normal"))
        assert waiting.recheck_s() == 1.0
        for _ in range(1990):
            stack.enter_context(waiting.place("normal"))
        assert len(waiting) / waiting.recheck_s() <= 64
