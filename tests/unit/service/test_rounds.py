# SPDX-License-Identifier: Apache-2.0
"""Work that concerns all sessions, after something has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise

from agentcg.daemon.service.rounds import Rounds


class Work:
    """Rounds of `steps` steps; `asks` are asked for in the middle of the first one."""

    def __init__(self, *, steps: int, asks: int = 0) -> None:
        self.done: list[int] = []
        self.rounds = Rounds(lambda: self.round(steps), "work", 0.0)
        self._asks = asks

    def round(self, steps: int) -> Iterator[None]:
        for step in range(steps):
            self.done.append(step)
            while step == steps // 2 and self._asks:
                self._asks -= 1
                self.rounds.ask()
            yield

    async def finished(self) -> None:
        """All rounds that were asked for are over."""
        own = [task for task in asyncio.all_tasks() if task.get_name() == "work"]
        await asyncio.gather(*own, return_exceptions=True)


async def test_many_changes_cost_one_round() -> None:
    """What is asked for before it begins is one; it begins when whoever asks has gone on."""
    work = Work(steps=3)
    for _ in range(10):
        work.rounds.ask()
    assert work.done == []
    await work.finished()
    assert work.done == [0, 1, 2]
    work.rounds.ask()
    await work.finished()
    assert work.done == [0, 1, 2] * 2


async def test_a_change_during_a_round_has_another_one_follow() -> None:
    """One, however many there were."""
    work = Work(steps=3, asks=5)
    work.rounds.ask()
    await work.finished()
    assert work.done == [0, 1, 2] * 2


async def test_requests_are_answered_between_steps() -> None:
    """A round over thousands of sessions does not hold up the loop until it is over."""
    work, seen = Work(steps=1000), []
    work.rounds.ask()
    while len(work.done) < 1000:
        seen.append(len(work.done))
        await asyncio.sleep(0)
    steps = [after - before for before, after in pairwise(seen)]
    assert max(steps) <= 100


async def test_closed_in_the_middle_it_goes_no_further() -> None:
    """Also where another round was asked for."""
    work = Work(steps=1000)
    work.rounds.ask()
    await asyncio.sleep(0)
    assert work.done
    work.rounds.ask()
    work.rounds.close()
    await work.finished()
    assert len(work.done) < 1000
