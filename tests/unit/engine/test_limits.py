# SPDX-License-Identifier: Apache-2.0
"""Settings become knobs, and protection is shared without promising too much."""

from __future__ import annotations

from dataclasses import replace

from agentcg.cgroups import MAX, Limits
from agentcg.daemon.engine import (
    Protection,
    call_limits,
    host_limits,
    protect,
    runtime_limits,
    session_limits,
    wanted,
)
from agentcg.daemon.messages import Grant
from agentcg.policies import DEFAULT, SessionFacts

GIB = 1 << 30
MIB = 1 << 20
RULE = DEFAULT.session(SessionFacts("s", 0, 2 * GIB, asked_priority="low"))


def test_no_limit_is_written_and_not_left_alone() -> None:
    """A limit that a policy no longer sets must go away when the new one is applied."""
    assert session_limits(RULE, 0) == Limits(
        memory_low=0, memory_high=MAX, memory_max=MAX, cpu_weight=25, pids_max=4096
    )
    assert host_limits(replace(DEFAULT.host(GIB), memory_max=None)) == Limits(memory_max=MAX)


def test_a_call_dies_as_a_whole() -> None:
    """The OOM killer takes all processes of a call: half a test run is worth nothing."""
    grant = Grant(
        memory_high_bytes=96 * MIB, memory_max_bytes=None, cpu_weight=400, pids_max=64,
        source="declared", reason="",
    )  # fmt: skip
    assert call_limits(grant) == Limits(
        memory_high=96 * MIB, memory_max=MAX, memory_oom_group=True, cpu_weight=400, pids_max=64
    )


def test_weights_multiply_within_the_kernels_range() -> None:
    """A session's own weight scales its priority's cpu.weight, from 1 to 10000."""
    weights = [
        session_limits(replace(RULE, cpu_weight=base, weight=weight), 0).cpu_weight
        for base, weight in ((25, 100), (25, 200), (1, 1), (400, 10000))
    ]
    assert weights == [25, 50, 1, 10000]


def test_protection_of_a_session_covers_its_agent() -> None:
    """A runtime leaf is protected only inside its session's protection."""
    assert wanted("s", RULE).wanted_bytes == 100 * MIB
    assert wanted("s", replace(RULE, memory_low=300 * MIB)).wanted_bytes == 300 * MIB
    assert runtime_limits(RULE, 300 * MIB).memory_low == 100 * MIB
    assert runtime_limits(RULE, 60 * MIB).memory_low == 60 * MIB


def test_high_priority_is_protected_first() -> None:
    """What is left goes to normal and then to low, in proportion to what they want."""
    sessions = [
        Protection("low-a", "low", 300),
        Protection("low-b", "low", 100),
        Protection("high", "high", 500),
        Protection("normal", "normal", 300),
    ]
    assert protect(sessions, 2000) == {"high": 500, "normal": 300, "low-a": 300, "low-b": 100}
    assert protect(sessions, 1000) == {"high": 500, "normal": 300, "low-a": 150, "low-b": 50}
    assert protect(sessions, 600) == {"high": 500, "normal": 100, "low-a": 0, "low-b": 0}
    assert protect(sessions, 250) == {"high": 250, "normal": 0, "low-a": 0, "low-b": 0}
    assert protect([], 100) == {}
