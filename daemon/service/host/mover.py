# SPDX-License-Identifier: Apache-2.0
"""Moving processes into cgroups without holding up the loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from agentcg.cgroups import Cgroup
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import CgroupError, CgroupGone, Conflict, InvalidInput


class Mover:
    """Writes to `cgroup.procs`, in one thread or, where that takes no time, at once.

    A move waits for a grace period of RCU, 5-15 ms, unless the mount has `favordynmods`. One
    thread is enough: moves exclude each other in the kernel anyway.
    """

    def __init__(self, *, quick: bool) -> None:
        """`quick`: the mount has `favordynmods`."""
        self.quick = quick
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mover")

    async def place(self, session: LiveSession, cgroup: Cgroup, pidfd: int, pid: int) -> int:
        """Move the process of `pidfd` into `cgroup`, the runtime or a leaf of `session`.

        Returns when it was there, CLOCK_BOOTTIME in ns. Raises `InvalidInput`, or `Conflict` if
        the session is being closed. Until the move is done `session.placing` counts it, also if
        the caller is cancelled meanwhile.
        """
        if session.closing:
            raise Conflict(f"session {session.name!r} is being closed")
        with _told(cgroup, pid):
            if self.quick:
                return _move(cgroup, pidfd)
            return await self._in_thread(session, cgroup, pidfd)

    def place_now(self, session: LiveSession, cgroup: Cgroup, pidfd: int, pid: int) -> int:
        """As `place`, without a turn of the loop in between; only where `quick`."""
        if session.closing:
            raise Conflict(f"session {session.name!r} is being closed")
        with _told(cgroup, pid):
            return _move(cgroup, pidfd)

    async def _in_thread(self, session: LiveSession, cgroup: Cgroup, pidfd: int) -> int:
        # The thread gets descriptors of its own: who waits here may be cancelled, and close
        # theirs, while it still writes.
        own = cgroup.duplicate()
        loop = asyncio.get_running_loop()
        moved = loop.run_in_executor(self._thread, _move_and_close, own, os.dup(pidfd))
        session.placing += 1
        moved.add_done_callback(lambda _: _count_down(session))
        # Shielded: a move that is taken back while it queues would never close its descriptors.
        return await asyncio.shield(moved)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)


def _count_down(session: LiveSession) -> None:
    session.placing -= 1


@contextmanager
def _told(cgroup: Cgroup, pid: int) -> Iterator[None]:
    """Refusals of the kernel in the words of the API."""
    try:
        yield
    except CgroupGone as error:
        raise Conflict(f"{cgroup.path.name} was removed meanwhile") from error
    except CgroupError as error:
        raise InvalidInput("pid", pid, f"a process that can be moved ({error})") from error


def _move(cgroup: Cgroup, pidfd: int) -> int:
    cgroup.place_pidfd(pidfd)
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _move_and_close(cgroup: Cgroup, pidfd: int) -> int:
    try:
        with cgroup:
            return _move(cgroup, pidfd)
    finally:
        os.close(pidfd)
