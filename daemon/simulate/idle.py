# SPDX-License-Identifier: Apache-2.0
"""Agents that wait for their model, as the daemon's idle window has them: `engine/idle.py` decides.

No agent says that it waits, and no call is announced, so a window opens after `idle.after`, and who
goes on takes its memory back itself (`Session.take_back`).
"""

from __future__ import annotations

from agentcg.daemon.engine import idle
from agentcg.daemon.simulate.controls import NEXT_LOOK_S
from agentcg.daemon.simulate.session import Host, Session, count
from agentcg.policies import IdleRule


class Windows:
    """The idle windows of all sessions. Where there is no swap they would take nothing."""

    def __init__(self, rule: IdleRule) -> None:
        self._rule = rule
        self._windows: dict[str, idle.Window] = {}

    def forget(self, session: Session) -> None:
        """Its agent is a new one."""
        self._windows.pop(session.name, None)

    def look(self, host: Host, now: float) -> float:
        """Look at all sessions of a host; seconds until the next look."""
        if not (self._rule.reclaim and host.swap_bytes):
            return NEXT_LOOK_S
        for session in host.sessions:
            if session.runtime is not None and session.priority in self._rule.reclaim:
                self._look_at(session, now)
        return idle.EVERY_S

    def _look_at(self, session: Session, now: float) -> None:
        agent = session.runtime
        assert agent is not None  # noqa: S101
        agent.settle(now)
        held = int(agent.level - agent.swapped)
        seen = idle.Look(
            priority=session.priority,
            phase="calling" if session.open_calls else "thinking",
            since_s=now - session.thinks_since,
            declared=False,
            held_bytes=held,
            refaults=int(session.refaulted_bytes) // idle.PAGE_BYTES,
            stall_percent=None,
            busy_share=agent.cores,
            swap_free_bytes=int(session.host.swap_free_bytes),
        )
        window = self._windows.get(session.name, idle.Window())
        after_s, ahead_s = self._rule.after_s, self._rule.ahead_s
        self._windows[session.name], deed = idle.decide(
            seen, window, after_s=after_s, ahead_s=ahead_s, now=now
        )
        if deed is not None:
            swap_out(session, deed.size_bytes, now)


def swap_out(session: Session, size_bytes: int, now: float) -> None:
    """`memory.reclaim` of the agent: as much as it holds and swap takes."""
    agent = session.runtime
    if agent is None:
        return
    agent.settle(now)
    agent.swap(max(0.0, min(size_bytes, agent.level - agent.swapped, session.host.swap_free_bytes)))
    count(agent)
