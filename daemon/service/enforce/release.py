# SPDX-License-Identifier: Apache-2.0
"""Taking back what the ladder does, whoever did it: nobody stays held back by a daemon that is
not there.

At the daemon's start and, when it died, by itself (`agentcgd --release`). That runs when the
host is short of everything, so it loads little: no policy, no API, no event loop.
"""

from __future__ import annotations

import logging

from agentcg.cgroups import MAX, Cgroup, Limits
from agentcg.daemon.messages import Grant
from agentcg.daemon.service.host.root import Root, locate
from agentcg.daemon.service.limits import absent_limits, call_limits
from agentcg.daemon.service.records import (
    CALL_MARK,
    HAND_MARK,
    RUNTIME,
    SESSION_MARK,
    CallRecord,
    decode,
)
from agentcg.errors import AgentcgError, CgroupGone

log = logging.getLogger(__name__)

LADDER_MARK = "agentcg.ladder"


def release_root(root: str) -> None:
    """Let everybody below `root` (a path, or "auto") go. Raises `StartupError` while a daemon
    is alive there."""
    path = locate(root)
    if not path.is_dir():
        return
    opened = Root.open(path, frozenset())
    release_all(opened)
    opened.close()


def release_all(root: Root) -> int:
    """Thaw every marked call below `root` that nobody froze by hand; how many were marked.

    Every call, marked or not, gets its grant's own limits, and every agent none: a lease is nothing
    without a daemon that makes it longer.

    An error at one call or session keeps no other one held back.
    """
    released, absent = 0, absent_limits(root.controllers)
    for name in root.cgroup.children():
        try:
            with root.cgroup.child(name) as session:
                if session.get_attr(SESSION_MARK) is not None:
                    released += _release_session(session, absent)
        except CgroupGone:
            continue  # closed meanwhile, and nobody is left in it
        except AgentcgError as error:
            log.error("still held back: %s", error)
    if released:
        log.warning("calls let go that a daemon that is gone held back: %d", released)
    return released


def _release_session(session: Cgroup, absent: dict[str, None]) -> int:
    released = 0
    for name in session.children():
        try:
            released += _release(session, name, absent)
        except AgentcgError as error:
            log.error("still held back: %s", error)
    return released


def _release(session: Cgroup, name: str, absent: dict[str, None]) -> int:
    with session.child(name) as leaf:
        marked = leaf.get_attr(LADDER_MARK) is not None
        if marked and leaf.get_attr(HAND_MARK) is None:
            leaf.freeze(False)
        if name == RUNTIME:
            leaf.apply(Limits(memory_high=MAX)._replace(**absent))
        raw = leaf.get_attr(CALL_MARK)
        if raw is not None:
            grant = decode(raw, CallRecord, str(leaf.path)).grant
            leaf.apply(own_limits(grant)._replace(**absent))
        leaf.remove_attr(LADDER_MARK)
    return int(marked)


def own_limits(grant: Grant) -> Limits:
    """What a lease and a throttle stand for: the limits of the grant."""
    full = call_limits(grant)
    return Limits(
        memory_high=full.memory_high, memory_max=full.memory_max, cpu_weight=full.cpu_weight
    )
