# SPDX-License-Identifier: Apache-2.0
"""Settings and grants become knobs of the kernel."""

from __future__ import annotations

from dataclasses import replace

from agentcg.cgroups import MAX, Limits
from agentcg.cgroups.values import CpuMax
from agentcg.daemon.messages import Grant
from agentcg.daemon.service.limits import (
    call_limits,
    runtime_limits,
    session_limits,
)
from agentcg.policies import DEFAULT, SessionFacts

GIB = 1 << 30
MIB = 1 << 20
RULE = DEFAULT.session(SessionFacts("s", 0, 2 * GIB, asked_priority="low"))


def test_no_limit_is_written_and_not_left_alone() -> None:
    """A limit that a policy no longer sets must go away when the new one is applied."""
    assert session_limits(RULE, 0) == Limits(
        memory_low=0, memory_high=MAX, memory_max=MAX, cpu_weight=25, cpu_max=CpuMax(MAX),
        io_weight=100, pids_max=4096,
    )  # fmt: skip


def test_cpus_become_a_quota_that_the_kernel_takes() -> None:
    """1.5 CPUs are 150 ms in every 100 ms; the kernel refuses less than 1 ms."""
    quotas = [session_limits(replace(RULE, cpu_max=cpus), 0).cpu_max for cpus in (1.5, 0.01, None)]
    assert quotas == [CpuMax(150_000), CpuMax(1_000), CpuMax(MAX)]


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


def test_a_runtime_leaf_is_protected_within_its_session() -> None:
    """More than its session has would not hold; the agent goes before its calls in CPU."""
    assert runtime_limits(RULE, 300 * MIB) == Limits(memory_low=100 * MIB, cpu_weight=400)
    assert runtime_limits(RULE, 60 * MIB).memory_low == 60 * MIB
