# SPDX-License-Identifier: Apache-2.0
"""A scripted daemon for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.scripted_daemon import ScriptedDaemon


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy for a moment is no daemon that is away."""
    for module in ("client", "asynchronous"):
        monkeypatch.setattr(f"agentcg.client.{module}.CONNECT_S", 60.0)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    """A scripted daemon that listens; nothing is scripted yet."""
    with ScriptedDaemon(tmp_path / "socket") as listening:
        yield listening
