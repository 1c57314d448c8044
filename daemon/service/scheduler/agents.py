# SPDX-License-Identifier: Apache-2.0
"""Tasks in sessions have the policy SCHED_EXT while the scheduler takes none but those.

Children and threads have it from who made them. The kernel tells of who comes in from outside
(`agentcg run`, `docker exec`), or goes; a slow look finds who was missed, or has set itself back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from agentcg.bpf.arrivals import Arrivals
from agentcg.cgroups import find_mount
from agentcg.cgroups.thread_policy import GIVE_BACK, TAKE, Change, change, threads_of, tree
from agentcg.daemon.service.host import tasks
from agentcg.daemon.service.host.peers import cgroup_of, is_below

LOOKED_AT = 32
"""Cgroups at each look: with 1,000 sessions of three it is everybody's turn within two minutes."""
UNABLE = "to take agents' tasks needs CAP_SYS_NICE, which the daemon has not (docs/scheduler.md)"
REFUSED = "the kernel refuses to give some agents' tasks the policy SCHED_EXT"

log = logging.getLogger(__name__)


class AgentTasks:
    """Takes the tasks in all sessions, and gives them back. `refused`: not all can be taken."""

    def __init__(self, root: Path) -> None:
        """`root` is the cgroup of all sessions."""
        self.refused = False
        self._root = root
        self._mount = str(find_mount().path)
        self._arrivals: Arrivals | None = None
        self._lost = 0
        self._looking: Iterator[Path] = iter(())

    async def start(self, arrivals: Arrivals) -> None:
        """The scheduler is in charge: take who is there, and who comes from now on."""
        self._arrivals, self._lost = arrivals, 0
        asyncio.get_running_loop().add_reader(arrivals.fileno(), self._news, arrivals)
        await self._all(TAKE)

    def stop(self) -> None:
        """The scheduler goes, perhaps to be loaded again: nobody is given back."""
        if self._arrivals is not None:
            asyncio.get_running_loop().remove_reader(self._arrivals.fileno())
            self._arrivals = None

    async def look(self) -> None:
        """Now and then: a part of the sessions; all where the kernel had no room for its news."""
        if self._arrivals is None:
            return
        lost = self._arrivals.lost()
        if lost != self._lost:
            self._lost = lost
            await self._all(TAKE)
        some = _some(self._looking)
        if len(some) < LOOKED_AT:
            self._looking = tree(self._root)
        self._change_in(TAKE, some)

    async def give_back(self) -> None:
        """All that are still taken, without keeping requests waiting."""
        await self._all(GIVE_BACK)

    def give_back_now(self) -> None:
        """The same, at the daemon's end."""
        cgroups = tree(self._root)
        while some := _some(cgroups):
            self._change_in(GIVE_BACK, some)

    async def _all(self, what: Change) -> None:
        cgroups = tree(self._root)
        while some := _some(cgroups):
            await tasks.in_turn(partial(self._change_in, what, some))

    def _news(self, arrivals: Arrivals) -> None:
        places = set()
        for thread in arrivals.read():
            place = cgroup_of(thread, self._mount)
            if is_below(place, str(self._root)):
                places.add(place)
            elif place is not None:
                self._let_go(thread)
        self._change_in(TAKE, (Path(place) for place in places if place is not None))

    def _change_in(self, what: Change, cgroups: Iterator[Path] | list[Path]) -> None:
        for cgroup in cgroups:
            self._change(what, partial(threads_of, cgroup))

    def _let_go(self, process: int) -> None:
        """It was moved out of all sessions."""

        def threads() -> Collection[int]:
            try:
                return [int(one.name) for one in Path(f"/proc/{process}/task").iterdir()]
            except OSError:
                return []

        change(GIVE_BACK, threads, lambda thread: not self._is_inside(thread))

    def _change(self, what: Change, threads: partial[list[int]]) -> None:
        try:
            refused = change(what, threads, self._is_inside)
        except OSError as error:
            log.error("tasks of a session keep their scheduling policy: %s", error)
            return
        if refused and what is TAKE and not self.refused:
            self.refused = True
            log.warning("%s", REFUSED)
        elif refused and what is GIVE_BACK:
            log.warning("%d tasks keep the policy SCHED_EXT: %s", refused, UNABLE)

    def _is_inside(self, thread: int) -> bool:
        return is_below(cgroup_of(thread, self._mount), str(self._root))


def _some(cgroups: Iterator[Path]) -> list[Path]:
    try:
        return list(islice(cgroups, LOOKED_AT))
    except OSError as error:  # the scheduler's own look must go on
        log.error("not all sessions are looked at: %s", error)
        return []
