# SPDX-License-Identifier: Apache-2.0
"""Letting calls go, where some cgroups cannot be had."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.daemon.service.enforce import release
from agentcg.errors import AgentcgError


class Session:
    """A session of ours with one leaf."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get_attr(self, _: str) -> bytes:
        return b"{}"

    def children(self) -> list[str]:
        return ["call-a"]


def test_one_session_keeps_no_other_one_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptors left, or removed meanwhile: the others are let go."""

    def child(name: str) -> Session:
        if name == "bad":
            raise AgentcgError("too many open files")
        return Session()

    monkeypatch.setattr(release, "_release", lambda *_: 1)
    monkeypatch.setattr(release, "absent_limits", lambda _: {})
    cgroup = SimpleNamespace(children=lambda: ["bad", "good"], child=child)
    root: Any = SimpleNamespace(cgroup=cgroup, controllers=frozenset())
    assert release.release_all(root) == 1
