# SPDX-License-Identifier: Apache-2.0
"""Settings and grants as knobs of the kernel.

A setting without a limit is written as `MAX`, not left alone, so that applying the limits of
a new policy undoes what an older one set.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from agentcg.cgroups import MAX, Limits
from agentcg.cgroups.values import CpuMax, Limit
from agentcg.daemon.messages import Grant

if TYPE_CHECKING:  # policies take a while to load, and `release` has none
    from agentcg.policies import SessionRule

CPU_PERIOD_US = 100_000
CPU_QUOTA_MIN_US = 1_000
RUNTIME_CPU_WEIGHT = 400
"""The agent itself against its calls (100 each): it uses 2% of a core and four calls at once
are the most that were seen, so it answers at once and takes nothing from them."""


def session_limits(rule: SessionRule, memory_low_bytes: int) -> Limits:
    """Knobs of a session; `memory_low_bytes` is its share from `protect`."""
    return Limits(
        memory_low=memory_low_bytes,
        memory_high=_limit(rule.memory_high),
        memory_max=_limit(rule.memory_max),
        cpu_weight=cpu_weight(rule),
        cpu_max=cpu_max(rule.cpu_max),
        io_weight=rule.io_weight,
        pids_max=_limit(rule.pids_max),
    )


def cpu_weight(rule: SessionRule) -> int:
    """`cpu.weight` that the policy gives a session, before others of its user count."""
    return min(max(round(rule.cpu_weight * rule.weight / 100), 1), 10000)


def cpu_max(cpus: float | None) -> CpuMax:
    """`cpu.max` for so many CPUs; the kernel refuses quotas below 1 ms."""
    if cpus is None:
        return CpuMax(MAX)
    return CpuMax(max(round(cpus * CPU_PERIOD_US), CPU_QUOTA_MIN_US), CPU_PERIOD_US)


def runtime_limits(rule: SessionRule, memory_low_bytes: int) -> Limits:
    """Knobs of a session's runtime leaf: protected within the session's protection."""
    return Limits(
        memory_low=min(rule.runtime_memory_low, memory_low_bytes),
        cpu_weight=RUNTIME_CPU_WEIGHT,
    )


def call_limits(grant: Grant) -> Limits:
    """Knobs of a call's leaf. The OOM killer takes all of a call or nothing of it."""
    return Limits(
        memory_high=_limit(grant.memory_high_bytes),
        memory_max=_limit(grant.memory_max_bytes),
        memory_oom_group=True,
        cpu_weight=grant.cpu_weight,
        pids_max=_limit(grant.pids_max),
    )


def absent_limits(controllers: Collection[str]) -> dict[str, None]:
    """What to replace in any `Limits` so that nothing is asked of other controllers."""
    return {field: None for field in Limits._fields if field.partition("_")[0] not in controllers}


def _limit(value: int | None) -> Limit:
    return MAX if value is None else value
