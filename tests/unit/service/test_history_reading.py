# SPDX-License-Identifier: Apache-2.0
"""What is read of the history: by how many at once, and of what another version has written."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from agentcg.daemon.history import Found, Wanted
from agentcg.daemon.service.accounts.history import History
from agentcg.errors import LimitExceeded

UID, OTHER = 4301, 4302


async def test_actions_of_a_newer_version_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind that is not known, or no JSON: the call is explained without."""
    history = History(None)
    kept = Found(1, b"{}", actions=b"")

    async def one(*_: Any) -> tuple[Found, None]:
        return kept, None

    monkeypatch.setattr(history, "_one", one)
    for actions in (b'[{"kind": "teleport"}]', b"no JSON", None):
        kept = Found(1, b"{}", actions=actions)
        assert await history.actions(UID, "abcd", Wanted()) == []
    history.stop()


async def test_searches_that_wait_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's that is one too many is refused at once, others' are not; when one is over there is
    a place again."""
    monkeypatch.setattr("agentcg.daemon.service.accounts.history.SEARCHES_PER_UID_MAX", 1)
    history = History(tmp_path)
    history.start()
    over = threading.Event()
    long = asyncio.create_task(history._search(UID, lambda _: over.wait(60)))
    await asyncio.sleep(0)  # it has begun
    with pytest.raises(LimitExceeded, match="by uid 4301"):
        await history._search(UID, lambda _: True)
    others = asyncio.create_task(history._search(OTHER, lambda _: True))
    await asyncio.sleep(0)
    over.set()
    assert await long
    assert await others
    assert await history._search(UID, lambda _: True)
    history.stop()
