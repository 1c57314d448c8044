# SPDX-License-Identifier: Apache-2.0
"""What is done to a call by hand where the kernel refuses it; the rest is in tests/native."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.daemon.messages import Grant
from agentcg.daemon.service.calls.by_hand import ByHand
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.records import HAND_MARK, CallRecord
from agentcg.daemon.service.state import LiveCall
from agentcg.errors import AgentcgError, CgroupError, CgroupGone, Conflict

PEER = Peer(1000, 1, False, lambda: None)
GRANT = Grant(
    memory_high_bytes=None, memory_max_bytes=None, cpu_weight=100, pids_max=None,
    source="default", reason="",
)  # fmt: skip


class Leaf:
    """A call's cgroup that refuses everything but attributes."""

    def __init__(self, error: CgroupError) -> None:
        self._error = error
        self.attributes: dict[str, bytes] = {}
        self.when_frozen: dict[str, bytes] = {}

    def set_attr(self, name: str, value: bytes) -> None:
        self.attributes[name] = value

    def remove_attr(self, name: str) -> None:
        del self.attributes[name]

    def freeze(self, _: bool) -> None:
        self.when_frozen = dict(self.attributes)
        raise self._error

    def kill(self) -> None:
        raise self._error


def _core(leaf: Any) -> Any:
    """With one call, in `leaf`."""
    session: Any = SimpleNamespace(actions=[])
    record = CallRecord(id="c", tool="Bash", category="other", begun_at=0.0, grant=GRANT)
    call = LiveCall(record, session, leaf)
    return SimpleNamespace(authorised_call=lambda *_: call)


@pytest.mark.parametrize(("kind", "told"), [(CgroupError, CgroupError), (CgroupGone, Conflict)])
@pytest.mark.parametrize("act", ["freeze", "kill"])
def test_what_was_refused_is_not_kept(
    act: str, kind: type[CgroupError], told: type[AgentcgError]
) -> None:
    """A call that was not killed is told of no kill when it ends by itself."""
    leaf: Any = Leaf(kind("/c", "cgroup.kill", "1", errno.EPERM))
    core = _core(leaf)
    call = core.authorised_call()
    with pytest.raises(told):
        getattr(ByHand(core), act)(PEER, "c")
    assert (call.killed, call.frozen_by_hand, list(call.actions)) == (None, False, [])
    assert leaf.attributes == {}


def test_who_may_thaw_is_kept_before_it_is_frozen() -> None:
    """A daemon that is killed in between leaves no call that nobody can thaw."""
    leaf = Leaf(CgroupGone("/c", "cgroup.freeze", "1", errno.ENODEV))
    with pytest.raises(Conflict):
        ByHand(_core(leaf)).freeze(PEER, "c")
    assert leaf.when_frozen == {HAND_MARK: b"frozen"}
