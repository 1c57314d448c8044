# SPDX-License-Identifier: Apache-2.0
"""Moving processes into cgroups without holding up the loop."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from agentcg.cgroups import Cgroup
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import CgroupError, CgroupGone, Conflict, InvalidInput


class Mover:
    """One thread that writes to `cgroup.procs`.

    A move can take 5-15 ms in the kernel (a percpu rwsem's slow path). One thread is enough:
    moves exclude each other in the kernel anyway.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mover")

    async def place(self, session: LiveSession, cgroup: Cgroup, pidfd: int, pid: int) -> None:
        """Move the process of `pidfd` into `cgroup`, the runtime or a leaf of `session`.

        Raises `InvalidInput`, or `Conflict` if the session is being closed. Until the move is
        done `session.placing` counts it, also if the caller is cancelled meanwhile.
        """
        if session.closing:
            raise Conflict(f"session {session.name!r} is being closed")
        # The thread gets descriptors of its own: who waits here may be cancelled, and close
        # theirs, while it still writes.
        own = Cgroup(os.dup(cgroup.fileno()), cgroup.path)
        loop = asyncio.get_running_loop()
        moved = loop.run_in_executor(self._thread, _place, own, os.dup(pidfd))
        session.placing += 1
        moved.add_done_callback(lambda _: _count_down(session))
        try:
            # Shielded: a move that is taken back while it queues would never close its descriptors.
            await asyncio.shield(moved)
        except CgroupGone as error:
            raise Conflict(f"{cgroup.path.name} was removed meanwhile") from error
        except CgroupError as error:
            raise InvalidInput("pid", pid, f"a process that can be moved ({error})") from error

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)


def _count_down(session: LiveSession) -> None:
    session.placing -= 1


def _place(cgroup: Cgroup, pidfd: int) -> None:
    try:
        with cgroup:
            cgroup.place_pidfd(pidfd)
    finally:
        os.close(pidfd)
