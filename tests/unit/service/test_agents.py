# SPDX-License-Identifier: Apache-2.0
"""With the partial switch: whose tasks are taken when, on a tree of files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentcg.cgroups.thread_policy import GIVE_BACK, TAKE, Change
from agentcg.daemon.service.scheduler import agents
from agentcg.daemon.service.scheduler.agents import LOOKED_AT, AgentTasks


class News:
    """Arrivals: a pipe that is readable while there are some."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self._threads: list[int] = []
        self.missed = 0

    def tell(self, *threads: int) -> None:
        self._threads += threads
        os.write(self._writing, b"x")

    def fileno(self) -> int:
        return self._reading

    def read(self) -> list[int]:
        os.read(self._reading, 1)
        told, self._threads = self._threads, []
        return told

    def lost(self) -> int:
        return self.missed

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


class Tree:
    """Cgroups as files, and what was done to which thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.root = directory / "sessions"
        self.places: dict[int, Path] = {}
        self.done: list[tuple[Change, int]] = []
        self.refuses = 0
        self.heard = asyncio.Event()
        monkeypatch.setattr(agents, "change", self._change)
        monkeypatch.setattr(agents, "cgroup_of", self._cgroup_of)
        self.tasks = AgentTasks(self.root)

    def put(self, thread: int, place: str) -> None:
        self.places[thread] = self.root / place
        self.places[thread].mkdir(parents=True, exist_ok=True)
        (self.places[thread] / "cgroup.threads").write_text(f"{thread}\n")

    def _cgroup_of(self, thread: int, _: str) -> str | None:
        place = self.places.get(thread)
        return None if place is None else str(place)

    def _change(self, what: Change, threads: Any, stays: Any) -> int:
        listed: Collection[int] = threads()
        self.done += [(what, thread) for thread in listed]
        self.heard.set()
        return self.refuses

    async def hears(self) -> None:
        self.heard.clear()
        await self.heard.wait()

    def took(self) -> set[int]:
        found = {thread for what, thread in self.done if what is TAKE}
        self.done.clear()
        return found


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tree:
    found = Tree(monkeypatch, tmp_path)
    found.put(11, "a/runtime")
    found.put(12, "a/call-1/inner")
    return found


@pytest.fixture
def news() -> Iterator[News]:
    made = News()
    yield made
    made.close()


def run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


def test_who_is_there_is_taken_and_who_comes(there: Tree, news: News) -> None:
    """When the scheduler is loaded all, then whoever the kernel tells of, with those beside it; not
    one that has ended by now."""

    async def work() -> None:
        await there.tasks.start(news)  # type: ignore[arg-type]
        assert there.took() == {11, 12}
        there.put(13, "b/runtime")
        news.tell(13, 99)
        await there.hears()
        assert there.took() == {13}
        there.tasks.stop()
        news.tell(13)
        await asyncio.sleep(0)
        assert there.took() == set()

    run(work())


def test_who_left_all_sessions_is_given_back(there: Tree, news: News) -> None:
    """With its other threads, wherever it is now."""

    async def work() -> None:
        await there.tasks.start(news)  # type: ignore[arg-type]
        there.done.clear()
        own = os.getpid()
        there.put(own, "../elsewhere")
        there.places[own] = there.root.parent / "elsewhere"
        news.tell(own)
        await there.hears()
        assert (GIVE_BACK, own) in there.done
        assert not there.took()

    run(work())


def test_each_look_is_bounded_and_misses_nobody(there: Tree, news: News) -> None:
    """Of many sessions some at each look, until all had their turn, and then again."""
    for number in range(100, 100 + 2 * LOOKED_AT):
        there.put(number, f"s{number}/runtime")

    async def work() -> None:
        await there.tasks.start(news)  # type: ignore[arg-type]
        for _ in range(2):
            there.done.clear()
            seen = set[int]()
            while seen != set(there.places):
                await there.tasks.look()
                few = there.took()
                assert len(few) <= LOOKED_AT
                seen |= few

    run(work())


def test_after_lost_news_everybody_is_looked_at(there: Tree, news: News) -> None:
    """At once, and once."""
    for number in range(100, 100 + 3 * LOOKED_AT):
        there.put(number, f"s{number}")

    async def work() -> None:
        await there.tasks.start(news)  # type: ignore[arg-type]
        there.done.clear()
        news.missed = 5
        await there.tasks.look()
        assert there.took() == set(there.places)
        await there.tasks.look()
        assert len(there.took()) <= LOOKED_AT

    run(work())


def test_a_refusal_is_told_once(there: Tree, news: News, caplog: pytest.LogCaptureFixture) -> None:
    """In the log once, and to doctor for as long as it is so."""
    there.refuses = 1
    run(there.tasks.start(news))  # type: ignore[arg-type]
    assert there.tasks.refused
    assert [record.message for record in caplog.records] == [agents.REFUSED]


def test_at_the_end_all_are_given_back(there: Tree) -> None:
    """In order or at once."""
    run(there.tasks.give_back())
    given = set(there.done)
    assert given == {(GIVE_BACK, 11), (GIVE_BACK, 12)}
    there.done.clear()
    there.tasks.give_back_now()
    assert set(there.done) == given
