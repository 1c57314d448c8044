# SPDX-License-Identifier: Apache-2.0
"""What decides about sessions that share a host. `none` and `static` decide nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentcg.daemon.simulate.pool import Pool
from agentcg.daemon.simulate.session import Host, LiveCall, Session

if TYPE_CHECKING:
    from agentcg.daemon.simulate.process import Process
    from agentcg.daemon.simulate.world import World

NEXT_LOOK_S = 1.0


class Control:
    """`none`: one limit over all, and the kernel's OOM killer."""

    name = "none"
    call_oom_score_adj = 0

    def prepare(self, host: Host) -> None:
        """Give the sessions of `host` what they have from the start."""

    def admit(self, world: World, session: Session, call: LiveCall) -> bool:
        """Whether `call` may begin now; if so, its grant is with it."""
        return True

    def order(self, world: World, call: LiveCall) -> tuple[float, ...]:
        """By what calls that wait are asked again: the smaller, the sooner."""
        return (call.asked_at,)

    def limit(self, world: World, process: Process) -> None:
        """Put a call's grant in force on its process."""

    def met_high(self, world: World, process: Process) -> None:
        """A process begins to be slowed at its `memory.high`."""

    def began(self, session: Session) -> None:
        """A session begins to play."""

    def ended(self, world: World, session: Session, call: LiveCall, *, failed: bool) -> None:
        """A call has ended; `failed`: for memory."""

    def look(self, world: World, host: Host) -> float:
        """The regular look at a host; seconds until the next."""
        return NEXT_LOOK_S


class Static(Control):
    """Each session has an equal part of its host's memory as `memory.max`."""

    name = "static"

    def prepare(self, host: Host) -> None:
        """See `Control`."""
        for session in host.sessions:
            session.pool = Pool(host.pool.limit / len(host.sessions))
