# SPDX-License-Identifier: Apache-2.0
"""What is remembered of calls that were found."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

from agentcg.daemon.engine.sights import Began, Key
from agentcg.daemon.messages import Grant
from agentcg.daemon.service.detection.found import Found
from agentcg.daemon.service.records import CallRecord
from agentcg.daemon.service.state import LiveCall
from support.clock import settled

GRANT = Grant(
    memory_high_bytes=None, memory_max_bytes=None, cpu_weight=100, pids_max=None,
    source="default", reason="",
)  # fmt: skip
RECORD = CallRecord(
    id="c", tool="Bash", category="other", begun_at=0.0, grant=GRANT, found="generic"
)
BEGAN = Began(
    call=Key(7, 7), role="call", client="generic", tool="Bash", command="make", found="generic",
    time_ns=1_000,
)  # fmt: skip


def test_closed_session_leaves_nothing_behind() -> None:
    """Names of sessions come and go: what was found in one goes with it, and nothing else."""
    parts: Any = SimpleNamespace()
    found = Found(parts, parts, parts, parts)
    one: Any = object()
    for name in ("a", "b"):
        found._live[name, Key(7, 7)] = found._missed[name, Key(8, 8)] = one
    gone: Any = SimpleNamespace(name="a")
    found.closed(gone)
    assert list(found._live) == [("b", Key(7, 7))]
    assert list(found._missed) == [("b", Key(8, 8))]


async def test_a_call_that_ends_while_it_is_moved_keeps_when_it_was_moved() -> None:
    """The kernel tells of its end before the thread has told of the move: that is waited for."""
    moved = asyncio.get_running_loop().create_future()
    mover: Any = SimpleNamespace(quick=False, place=lambda *_: moved)
    session: Any = SimpleNamespace(name="s")
    leaf: Any = SimpleNamespace(set_attr=lambda *_: None)
    call = LiveCall(RECORD, session, leaf)
    ends: list[tuple[str, int | None, int | None]] = []

    def end(ended: LiveCall, reason: str) -> None:
        ends.append((reason, ended.record.exit_status, ended.record.placed_after_us))

    core: Any = SimpleNamespace(registry=SimpleNamespace(calls={call.id: call}))
    endings: Any = SimpleNamespace(end=end)
    found = Found(core, SimpleNamespace(), endings, mover)  # type: ignore[arg-type]
    found._place(call, os.open("/dev/null", os.O_RDONLY), BEGAN)
    found.exited(call, BEGAN.call.pid, 3)
    await settled()
    assert ends == []
    moved.set_result(BEGAN.time_ns + 7_000)
    await settled()
    assert ends == [("exited", 3, 7)]
