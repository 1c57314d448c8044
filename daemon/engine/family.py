# SPDX-License-Identifier: Apache-2.0
"""Calls that wait for other calls of their session: a parent never stands in its child's way.

What a parent was promised and does not hold is its children's to use; it does not count as a
running call that could make room by ending, nor against the number of calls allowed.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from agentcg.daemon.engine.model import HostView, SessionView


def lend(
    host: HostView, session: SessionView, parents: Collection[str]
) -> tuple[HostView, SessionView]:
    """Host and session as a child of these calls sees them."""
    lent = 0
    calls = []
    for call in session.calls:
        if call.id in parents and call.state == "running":
            lent += call.committed_bytes - (call.held_bytes or 0)
            call = replace(call, state="lingering")  # noqa: PLW2901 - holds, and gets no more
        calls.append(call)
    waiting = sum(
        1 for was, now in zip(session.calls, calls, strict=True) if was.state != now.state
    )
    caps = tuple(
        replace(
            cap,
            committed_bytes=cap.committed_bytes - lent,
            calls_running=max(cap.calls_running - waiting, 0),
        )
        for cap in session.caps
    )
    return (
        replace(
            host,
            committed_bytes=host.committed_bytes - lent,
            calls_running=max(host.calls_running - waiting, 0),
        ),
        replace(session, calls=tuple(calls), caps=caps),
    )
