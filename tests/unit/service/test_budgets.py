# SPDX-License-Identifier: Apache-2.0
"""Budgets in the kernel follow the leases of calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.bpf.budgets import Delays
from agentcg.daemon.messages import Delayed
from agentcg.daemon.service.accounts.counts import Tally
from agentcg.daemon.service.scheduler.budgets import Budgets, budget_of
from agentcg.errors import BpfError

MIB = 1 << 20


class Kernel:
    """A backend that remembers what it was told."""

    def __init__(self, *, full: bool = False) -> None:
        self.budgets: dict[int, tuple[int, int, str]] = {}
        self.led_to: dict[int, Delays] = {}
        self.writes = 0
        self.full = full

    def set(self, cgroup_id: int, soft_bytes: int, hard_bytes: int, priority: str) -> None:
        if self.full:
            raise BpfError("no room")
        self.budgets[cgroup_id] = soft_bytes, hard_bytes, priority
        self.writes += 1

    def clear(self, cgroup_id: int) -> Delays | None:
        del self.budgets[cgroup_id]
        return self.led_to.pop(cgroup_id, None)

    def delays(self, cgroup_id: int) -> Delays | None:
        return self.led_to.get(cgroup_id)

    def heartbeat(self) -> None: ...


def a_call(number: int, lease: int | None, high: int | None, most: int | None = None) -> Any:
    grant = SimpleNamespace(memory_high_bytes=high, memory_max_bytes=most)
    return SimpleNamespace(
        id=f"c{number}",
        cgroup=SimpleNamespace(id=number),
        lease_bytes=lease,
        record=SimpleNamespace(grant=grant),
        session=SimpleNamespace(record=SimpleNamespace(priority="low")),
    )


@pytest.mark.parametrize(
    ("lease", "high", "most", "budget"),
    [
        (64 * MIB, 256 * MIB, None, (64 * MIB, 72 * MIB)),
        (None, 256 * MIB, 260 * MIB, (256 * MIB, 260 * MIB)),
        (None, None, None, None),
    ],
)
def test_a_budget_is_the_lease(
    lease: int | None, high: int | None, most: int | None, budget: tuple[int, int] | None
) -> None:
    """Soft where memory.high is (the lease, else the grant), hard where the kernel would kill."""
    assert budget_of(a_call(1, lease, high, most)) == budget


def test_a_lease_that_grows_moves_the_budget() -> None:
    """Calls that run when delaying begins are included; what has not changed is not written."""
    kernel, budgets, call = Kernel(), Budgets(Tally()), a_call(7, 64 * MIB, None)
    budgets.start(kernel, [call])
    budgets.follow(call)
    assert (kernel.budgets[7], kernel.writes) == ((64 * MIB, 72 * MIB, "low"), 1)
    call.lease_bytes = 128 * MIB
    budgets.follow(call)
    assert kernel.budgets[7] == (128 * MIB, 136 * MIB, "low")
    budgets.forget(call)
    budgets.forget(call)
    assert kernel.budgets == {}


def test_delays_are_kept_while_budgets_come_and_go() -> None:
    """A call that has no bound for a while, and one whose scheduler is loaded again: the kernel
    counts from 0 each time, the call's delays go on."""
    kernel, delayed = Kernel(), Tally[Delayed]()
    budgets, call = Budgets(delayed), a_call(7, 64 * MIB, None)
    budgets.start(kernel, [call])
    kernel.led_to[7] = Delays(2, 9_000_000, 6_000_000, MIB)
    call.lease_bytes = None
    budgets.follow(call)
    assert (kernel.budgets, kernel.led_to) == ({}, {})
    call.lease_bytes = 64 * MIB
    budgets.follow(call)
    kernel.led_to[7] = Delays(1, 1_000_000, 1_000_000, 3 * MIB)
    so_far = Delayed(count=3, total_us=10_000, longest_us=6000, overshoot_bytes=3 * MIB)
    assert delayed.look(7) == so_far
    budgets.stop()
    assert delayed.look(7) == so_far
    budgets.start(Kernel(), [call])
    assert delayed.close(7) == so_far


def test_without_a_backend_nothing_happens() -> None:
    """Before the scheduler is loaded and after it has ended, calls go on as ever."""
    budgets, call = Budgets(Tally()), a_call(7, 64 * MIB, None)
    budgets.follow(call)
    budgets.start(Kernel(), [call])
    budgets.stop()
    budgets.heartbeat()
    budgets.forget(call)


def test_a_full_kernel_costs_a_call_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A budget that finds no room is told in the log, not to the call; the next try may fit."""
    kernel, budgets, call = Kernel(full=True), Budgets(Tally()), a_call(7, 64 * MIB, None)
    budgets.start(kernel, [call])
    assert "call c7 is bounded by memory.high alone: no room" in caplog.text
    kernel.full = False
    budgets.follow(call)
    assert 7 in kernel.budgets
