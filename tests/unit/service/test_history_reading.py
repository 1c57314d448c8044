# SPDX-License-Identifier: Apache-2.0
"""What another version of agentcg has written."""

from __future__ import annotations

from typing import Any

import pytest

from agentcg.daemon.history import Found, Wanted
from agentcg.daemon.service.history import History


async def test_actions_of_a_newer_version_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind that is not known, or no JSON: the call is explained without."""
    history = History(None)
    kept = Found(1, b"{}", actions=b"")

    async def one(*_: Any) -> tuple[Found, None]:
        return kept, None

    monkeypatch.setattr(history, "_one", one)
    for actions in (b'[{"kind": "teleport"}]', b"no JSON", None):
        kept = Found(1, b"{}", actions=actions)
        assert await history.actions("abcd", Wanted()) == []
    history.stop()
