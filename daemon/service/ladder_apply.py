# SPDX-License-Identifier: Apache-2.0
"""Carrying out the ladder's actions on cgroups, so that they can always be taken back.

A call that is throttled or frozen carries `LADDER_MARK` on its leaf from before until after.
`release_all` takes back whatever is marked: at the daemon's start, at its clean stop and, when
it died, from systemd (`agentcgd --release`). So nothing stays held back by a daemon that is
not there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from agentcg.cgroups import Cgroup, Limits
from agentcg.daemon.messages import Grant
from agentcg.daemon.service.limits import absent_limits, call_limits
from agentcg.daemon.service.records import CALL_MARK, SESSION_MARK, CallRecord, decode
from agentcg.daemon.service.root import Root
from agentcg.errors import AgentcgError, CgroupGone

log = logging.getLogger(__name__)

LADDER_MARK = "agentcg.ladder"
CPU_SHARE = 4  # a throttled call has a quarter of its cpu.weight
RECLAIMS_WAITING_MAX = 32


class Hands:
    """Writes to cgroups off the loop: one thread for limits and freezing, in order, and one for
    reclaim, which blocks while the kernel works."""

    def __init__(self, enforceable: Callable[[Limits], Limits]) -> None:
        self._enforceable = enforceable
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ladder")
        self._reclaimer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reclaim")
        self._reclaims = 0

    def throttle(self, leaf: Cgroup, grant: Grant, size_bytes: int) -> None:
        """Slow a call beyond `size_bytes`, and give it a quarter of its CPU weight."""
        limits = Limits(memory_high=size_bytes, cpu_weight=max(grant.cpu_weight // CPU_SHARE, 1))
        wanted = self._enforceable(limits)

        def write(own: Cgroup) -> None:
            own.set_attr(LADDER_MARK, b"throttled")
            own.apply(wanted)

        self._do(leaf, write)

    def unthrottle(self, leaf: Cgroup, grant: Grant) -> None:
        """Its own limits again."""
        wanted = self._enforceable(_own_limits(grant))

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
        own = _copy(cgroup)

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

    def _do(self, leaf: Cgroup, write: Callable[[Cgroup], None]) -> None:
        own = _copy(leaf)

        def work() -> None:
            try:
                with own:
                    write(own)
            except CgroupGone:
                pass  # it ended meanwhile
            except AgentcgError as error:
                log.error("%s", error)

        self._writer.submit(work)

    def close(self) -> None:
        """Finish what was begun; what is only waiting to be reclaimed is dropped."""
        self._reclaimer.shutdown(wait=False, cancel_futures=True)
        self._writer.shutdown(wait=True)


def _copy(cgroup: Cgroup) -> Cgroup:
    """A handle of the thread's own: the call may end, and close its handle, meanwhile."""
    return Cgroup(os.dup(cgroup.fileno()), cgroup.path)


def _own_limits(grant: Grant) -> Limits:
    full = call_limits(grant)
    return Limits(memory_high=full.memory_high, cpu_weight=full.cpu_weight)


def release_all(root: Root) -> int:
    """Thaw every marked call below `root` and give it its own limits; how many there were.

    An error at one call keeps no other one held back.
    """
    released, absent = 0, absent_limits(root.controllers)
    for name in root.cgroup.children():
        with root.cgroup.child(name) as session:
            if session.get_attr(SESSION_MARK) is None:
                continue
            for leaf_name in session.children():
                try:
                    released += _release(session, leaf_name, absent)
                except AgentcgError as error:
                    log.error("still held back: %s", error)
    if released:
        log.warning("calls let go that a daemon that is gone held back: %d", released)
    return released


def _release(session: Cgroup, name: str, absent: dict[str, None]) -> int:
    with session.child(name) as leaf:
        if leaf.get_attr(LADDER_MARK) is None:
            return 0
        leaf.freeze(False)
        raw = leaf.get_attr(CALL_MARK)
        if raw is not None:
            grant = decode(raw, CallRecord, str(leaf.path)).grant
            leaf.apply(replace(_own_limits(grant), **absent))
        leaf.remove_attr(LADDER_MARK)
    return 1
