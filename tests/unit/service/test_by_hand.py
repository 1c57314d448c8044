# SPDX-License-Identifier: Apache-2.0
"""What is done to a call by hand where the kernel refuses it; the rest is in tests/native."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.daemon.messages import Grant
from agentcg.daemon.service.by_hand import ByHand
from agentcg.daemon.service.peers import Peer
from agentcg.daemon.service.records import CallRecord
from agentcg.daemon.service.state import LiveCall
from agentcg.errors import AgentcgError, CgroupError, CgroupGone, Conflict

PEER = Peer(1000, 1, False, lambda: None)
GRANT = Grant(
    memory_high_bytes=None, memory_max_bytes=None, cpu_weight=100, pids_max=None,
    source="default", reason="",
)  # fmt: skip


class Leaf:
    """A call's cgroup that refuses everything."""

    def __init__(self, error: CgroupError) -> None:
        self._error = error

    def freeze(self, _: bool) -> None:
        raise self._error

    def kill(self) -> None:
        raise self._error


@pytest.mark.parametrize(("kind", "told"), [(CgroupError, CgroupError), (CgroupGone, Conflict)])
@pytest.mark.parametrize("act", ["freeze", "kill"])
def test_what_was_refused_is_not_kept(
    act: str, kind: type[CgroupError], told: type[AgentcgError]
) -> None:
    """A call that was not killed is told of no kill when it ends by itself."""
    leaf: Any = Leaf(kind("/c", "cgroup.kill", "1", errno.EPERM))
    session: Any = SimpleNamespace(actions=[])
    record = CallRecord(id="c", tool="Bash", category="other", begun_at=0.0, grant=GRANT)
    call = LiveCall(record, session, leaf)
    core: Any = SimpleNamespace(authorised_call=lambda *_: call)
    with pytest.raises(told):
        getattr(ByHand(core), act)(PEER, "c")
    assert (call.killed, call.frozen_by_hand, list(call.actions)) == (None, False, [])
