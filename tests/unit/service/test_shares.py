# SPDX-License-Identifier: Apache-2.0
"""What sessions share, as it is written to each of them."""

from __future__ import annotations

import asyncio
import errno
from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.cgroups import Limits
from agentcg.daemon.service.enforce.shares import Shares
from agentcg.daemon.service.records import SessionRecord
from agentcg.daemon.service.registry import Registry
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import CgroupError, CgroupGone

MIB = 1 << 20


class Tree:
    """A session's cgroup that holds so much; each access fails with `error`, if there is one."""

    def __init__(self, held: int, error: CgroupError | None = None) -> None:
        self._held, self._error = held, error
        self.written: list[Limits] = []

    def get(self, _: object) -> int:
        if self._error is not None:
            raise self._error
        return self._held

    def apply(self, limits: Limits) -> None:
        self.get(None)
        self.written.append(limits)


async def shared(*trees: Tree) -> None:
    """A round over sessions of one user, who may have 100 MiB."""
    registry = Registry()
    for number, tree in enumerate(trees):
        record = SessionRecord(
            id="x", name=f"s{number}", uid=1, priority="low", weight=100, opened_at=0
        )
        cgroup: Any = tree
        registry.sessions[record.name] = LiveSession(record, cgroup, cgroup)
    rule = SimpleNamespace(weight=100, memory_max=100 * MIB, pids_max=None)
    core: Any = SimpleNamespace(
        registry=registry, memory_bytes=lambda: 1000 * MIB, enforceable=lambda limits: limits,
        cap_rule=lambda *_: (rule, "user 1"),
    )  # fmt: skip
    shares = Shares(core)
    shares.changed()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    shares.close()


async def test_a_cap_binds_each_session_of_the_user() -> None:
    """One that holds more waits until it holds less, since the kernel would kill in it."""
    fits, holds_more = Tree(10 * MIB), Tree(200 * MIB)
    await shared(fits, holds_more)
    assert [limits.memory_max for limits in fits.written] == [100 * MIB]
    assert [limits.memory_max for limits in holds_more.written] == [None]


@pytest.mark.parametrize("kind", [CgroupGone, CgroupError])
async def test_a_session_that_was_removed_keeps_no_other_from_its_share(
    kind: type[CgroupError], caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does one that cannot be read, of which the log says so."""
    other = Tree(10 * MIB)
    await shared(Tree(0, kind("/s0", "memory.current", None, errno.ENODEV)), other)
    assert [limits.memory_max for limits in other.written] == [100 * MIB]
    assert len(caplog.messages) == (kind is CgroupError)
