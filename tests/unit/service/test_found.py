# SPDX-License-Identifier: Apache-2.0
"""What is remembered of calls that were found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from agentcg.daemon.engine.sights import Key
from agentcg.daemon.service.found import Found


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
