# SPDX-License-Identifier: Apache-2.0
"""The policy in force where a new one cannot be had; how files are read is in tests of policies."""

from __future__ import annotations

from pathlib import Path

from agentcg.daemon.service.rules import PolicyInForce
from agentcg.errors import CgroupError


def test_a_policy_that_cannot_be_applied_is_not_in_force(tmp_path: Path) -> None:
    """A good file of which the kernel refuses something changes nothing, and that is said."""
    kept = PolicyInForce(tmp_path)
    before = kept.policy, kept.host
    (tmp_path / "a.yaml").write_text("version: 1\nhost: {memory_max: 1G}\n")

    def refuse() -> None:
        raise CgroupError("/c", "memory.max", "1G", 16)

    assert not kept.reload(refuse)
    assert (kept.policy, kept.host) == before
    assert kept.error is not None
    assert kept.reload()
    assert kept.host.memory_max == 1 << 30
    assert kept.error is None
