# SPDX-License-Identifier: Apache-2.0
"""`agentcg bench memory-delay`: how soon, how long, and what it does to others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from agentcg.bpf import memory_delay
from agentcg.bpf.memory_delay import DelayEvent, MemoryDelay
from agentcg.bpf.scheduler import Scheduler
from agentcg.daemon.bench import loads
from agentcg.daemon.bench.figures import Figure
from agentcg.daemon.bench.loads import bench, percentile
from agentcg.errors import BpfError

DELAYS_MS = (0, 1, 10, 50, 200, 1000)
INVERSION_MS = (200, 1000)
SOFT_BYTES = 8 << 20
KEPT_MIB = 64
SHARED = Path("/dev/shm/agentcg-bench")  # noqa: S108 - a tmpfs file is what is measured


def run(seconds: float, say: Callable[[str], None]) -> list[Figure]:
    """All figures, under our scheduler; `kernel` is the same without delay."""
    with Scheduler.open() as scheduler:
        delay = scheduler.memory_delay
        if delay is None:
            raise BpfError(f"no memory delay here: {memory_delay.absence()}")
        say("rates, reaction and release")
        found = _rates(delay, seconds, say)
        say("what it does to others")
        found += _inversion(delay, seconds)
        say("polling every 100 ms, beside it")
        found.append(_polled(seconds))
        if why := scheduler.ended():
            say(f"the kernel took the scheduler out: {why}")
    return found


def _rates(delay: MemoryDelay, seconds: float, say: Callable[[str], None]) -> list[Figure]:
    found: list[Figure] = []
    events: list[DelayEvent] = []
    plain: tuple[float, float] | None = None
    for delay_ms in DELAYS_MS:
        say(f"  {delay_ms} ms")
        low, high, seen = _rate(delay, delay_ms, seconds)
        plain = plain or (low, high)
        found += [
            Figure(f"low's rate of allocation, delay {delay_ms} ms", "MB/s", plain[0], low),
            Figure(f"high's rate beside it, delay {delay_ms} ms", "MB/s", plain[1], high),
        ]
        events += seen
    return found + _reaction(events)


def _rate(
    delay: MemoryDelay, delay_ms: int, seconds: float
) -> tuple[float, float, list[DelayEvent]]:
    """MB/s of low, which has to wait, and of high beside it."""
    with bench() as b:
        low, high = b.below(b.cgroup, "low"), b.below(b.cgroup, "high")
        code = loads.WRITER.format(seconds=seconds, keep_mib=KEPT_MIB)
        writers = [*b.load(code, low), *b.load(code, high)]
        if delay_ms:
            delay.set(low.id, SOFT_BYTES, 0, "low", delay_ms * 1_000_000)
            delay.trace(low.id, True)
        for one in writers:
            one.go()
        rates = [one.result() for one in writers]
        delay.clear(low.id)
        return rates[0], rates[1], delay.events()


def _reaction(events: list[DelayEvent]) -> list[Figure]:
    off = [(one.stopped_ns - one.noticed_ns) / 1000 for one in events] or [0.0]
    late = [(one.released_ns - one.until_ns) / 1000 for one in events] or [0.0]
    return [
        Figure("delays measured", "", None, len(events)),
        Figure("from crossing to off the CPU, median", "us", None, percentile(off, 0.5), 50),
        Figure("from crossing to off the CPU, max", "us", None, max(off), 200),
        Figure("lateness of release, median", "us", None, percentile(late, 0.5)),
        Figure("lateness of release, max", "us", None, max(late), 1000),
    ]


def _inversion(delay: MemoryDelay, seconds: float) -> list[Figure]:
    """Others write to the file that a delayed task writes to; RCU's grace periods."""
    found = []
    plain: list[float] = []
    for delay_ms in (0, *INVERSION_MS):
        with bench() as b:
            low, high = b.below(b.cgroup, "low"), b.below(b.cgroup, "high")
            (grower,) = b.load(loads.FILE_GROWER.format(path=str(SHARED)), low)
            count = int(seconds * 100)
            (writer,) = b.load(loads.FILE_WRITER.format(path=str(SHARED), count=count), high)
            (grace,) = b.load(loads.GRACE.format(count=count // 4), high)
            if delay_ms:
                delay.set(low.id, 8 << 20, 0, "low", delay_ms * 1_000_000)
            for one in (grower, writer, grace):
                one.go()
            wrote, waited = writer.result(), grace.result()
            delay.clear(low.id)
        SHARED.unlink(missing_ok=True)
        values = [percentile(wrote, 0.99), max(wrote), percentile(waited, 0.5), max(waited)]
        plain = plain or values
        found += [
            Figure(f"{name}, delay {delay_ms} ms", "us", before, value, ideal)
            for name, before, value, ideal in zip(
                ("another's write to the same file, p99", "..., max", "synchronize_rcu, p50",
                 "synchronize_rcu, max"),
                plain, values, (1000, None, None, 50_000), strict=True,
            )
        ]  # fmt: skip
    return found


def _polled(seconds: float) -> Figure:
    """What a poller that freezes lets through: bytes over the budget when it acts."""
    over: list[float] = []
    with bench() as b:
        low = b.below(b.cgroup, "low")
        for turn in range(max(3, int(seconds))):
            (writer,) = b.load(loads.WRITER.format(seconds=seconds, keep_mib=4096), low)
            time.sleep(0.013 * turn)  # another phase each time
            writer.go()
            held = 0
            while held <= SOFT_BYTES:
                time.sleep(0.1)
                held = int((low.path / "memory.current").read_text())
            over.append((held - SOFT_BYTES) / 1e6)
            writer.stop()
            os.sched_yield()
    return Figure("bytes over the budget when a poller of 100 ms notices, median", "MB",
                  percentile(over, 0.5), None)  # fmt: skip
