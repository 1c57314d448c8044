# SPDX-License-Identifier: Apache-2.0
"""Carrying out the ladder's actions on cgroups, so that they can always be taken back.

A call that is throttled or frozen carries `LADDER_MARK` on its leaf from before until after, so
that `release` finds it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from agentcg.cgroups import Cgroup, Limits
from agentcg.cgroups.knobs import MEMORY_CURRENT, MEMORY_MAX
from agentcg.daemon.messages import Grant
from agentcg.daemon.service.enforce.release import LADDER_MARK, own_limits
from agentcg.daemon.service.host.threads import workers
from agentcg.errors import AgentcgError, CgroupGone

log = logging.getLogger(__name__)

Done = Callable[[AgentcgError | None], None]
"""Told when something is written, or why it could not be; nothing if the cgroup is gone."""

CPU_SHARE = 4  # a throttled call has a quarter of its cpu.weight
RECLAIMS_WAITING_MAX = 32
ROOM_BYTES = 8 << 20  # between what a call holds and what kills it, when that is lowered


class Hands:
    """Writes to cgroups off the loop: one thread for limits of calls and freezing, in order, one
    for leases of agents, which must not wait for those, and one for reclaim, which blocks while the
    kernel works."""

    def __init__(self, enforceable: Callable[[Limits], Limits]) -> None:
        self._enforceable = enforceable
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ladder")
        self._agents = ThreadPoolExecutor(max_workers=1, thread_name_prefix="agents")
        self._reclaimer = workers(1, "reclaim")
        self._reclaims = 0
        self._closed = False

    def throttle(
        self, leaf: Cgroup, grant: Grant, lease: Callable[[], Limits], done: Callable[[], None]
    ) -> None:
        """Slow a call beyond its `lease`, and give it a quarter of its CPU weight."""
        weight = Limits(cpu_weight=max(grant.cpu_weight // CPU_SHARE, 1))
        wanted = self._enforceable(weight)

        def write(own: Cgroup) -> None:
            own.set_attr(LADDER_MARK, b"throttled")
            own.apply(wanted)
            _shorten(own, lease)

        self._do(leaf, write, _logging(done))

    def shorten(self, leaf: Cgroup, lease: Callable[[], Limits], done: Callable[[], None]) -> None:
        """A shorter lease; what it is by the time that it is written. `done` is called on the
        loop."""
        self._do(leaf, lambda own: _shorten(own, lease), _logging(done))

    def bound_agent(self, runtime: Cgroup, lease: Callable[[], Limits], done: Done) -> None:
        """The lease of an agent, whatever it is by the time that it is written. `done` is called on
        the loop.

        Also a longer one: it may be below what the agent has charged since it was last looked at,
        and then the kernel reclaims before the write returns.
        """
        self._do(runtime, lambda own: own.apply(lease()), done, self._agents)

    def end_lease(self, leaf: Cgroup, grant: Grant) -> None:
        """The limits of the grant alone."""
        wanted = self._enforceable(own_limits(grant))
        self._do(leaf, lambda own: own.apply(wanted))

    def unthrottle(self, leaf: Cgroup, grant: Grant) -> None:
        """Its own CPU weight again; it grows by its lease."""
        wanted = self._enforceable(Limits(cpu_weight=grant.cpu_weight))

        def write(own: Cgroup) -> None:
            own.apply(wanted)
            own.remove_attr(LADDER_MARK)

        self._do(leaf, write)

    def freeze(self, leaf: Cgroup) -> None:
        """Stop all processes of a call where they are."""

        def write(own: Cgroup) -> None:
            own.set_attr(LADDER_MARK, b"frozen")
            own.freeze(True)

        self._do(leaf, write)

    def thaw(self, leaf: Cgroup) -> None:
        """Let them go on. The mark stays until its limits are its own again."""
        self._do(leaf, lambda own: own.freeze(False))

    def reclaim(self, cgroup: Cgroup, size_bytes: int, on_error: Callable[[str], None]) -> None:
        """Ask for memory back; dropped where too many are asked already."""
        if self._reclaims >= RECLAIMS_WAITING_MAX:
            return
        self._reclaims += 1
        own = cgroup.duplicate()

        def work() -> None:
            try:
                with own:
                    own.reclaim(size_bytes)
            except CgroupGone:
                pass
            except AgentcgError as error:
                on_error(str(error))
            finally:
                self._reclaims -= 1

        self._reclaimer.submit(work)

    def _do(
        self,
        leaf: Cgroup,
        write: Callable[[Cgroup], None],
        done: Done | None = None,
        thread: ThreadPoolExecutor | None = None,
    ) -> None:
        if self._closed:  # what could not be written last is not tried again
            return
        own = leaf.duplicate()
        loop = None if done is None else asyncio.get_running_loop()

        def work() -> None:
            error = _error_of(write, own)
            if loop is not None and done is not None:
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(done, error)
            elif error is not None:
                log.error("%s", error)

        (thread or self._writer).submit(work)

    def close(self) -> None:
        """Finish what was begun; what is only waiting to be reclaimed is dropped, and so is what
        comes after."""
        self._closed = True
        self._reclaimer.shutdown(wait=False, cancel_futures=True)
        self._writer.shutdown(wait=True)
        self._agents.shutdown(wait=True)


def _error_of(write: Callable[[Cgroup], None], own: Cgroup) -> AgentcgError | None:
    try:
        with own:
            write(own)
    except CgroupGone:
        return None  # it ended meanwhile
    except AgentcgError as error:
        return error
    return None


def _logging(done: Callable[[], None]) -> Done:
    """`done`, whatever became of the write; an error is only logged."""

    def told(error: AgentcgError | None) -> None:
        if error is not None:
            log.error("%s", error)
        done()

    return told


def _shorten(own: Cgroup, lease: Callable[[], Limits]) -> None:
    """First what slows; what kills no lower than what is held by then, and no higher than it was.

    The loop may make the lease longer meanwhile, and must have the last word."""
    written, before = None, own.get(MEMORY_MAX)
    while (wanted := lease()) != written:
        own.apply(Limits(memory_high=wanted.memory_high))
        held, most = own.get(MEMORY_CURRENT), wanted.memory_max
        if held is not None and isinstance(most, int):
            most = max(most, held + ROOM_BYTES)
            if written is None and isinstance(before, int):
                most = min(most, before)
            own.apply(Limits(memory_max=most))
        written = wanted
