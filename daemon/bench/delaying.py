# SPDX-License-Identifier: Apache-2.0
"""The scheduler with memory delay, in charge while one part is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agentcg.bpf import memory_delay
from agentcg.bpf.memory_delay import MemoryDelay
from agentcg.bpf.scheduler import Scheduler
from agentcg.errors import BpfError


@contextmanager
def delaying(say: Callable[[str], None]) -> Iterator[MemoryDelay]:
    """Budgets to set meanwhile; BpfError where there are none to be had."""
    with Scheduler.open() as scheduler:
        if scheduler.memory_delay is None:
            raise BpfError(f"no memory delay here: {memory_delay.absence()}")
        yield scheduler.memory_delay
        if why := scheduler.ended():
            say(f"the kernel took the scheduler out: {why}")
