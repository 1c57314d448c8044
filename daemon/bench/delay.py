# SPDX-License-Identifier: Apache-2.0
"""`agentcg bench memory-delay`: how soon, how long, and what it does to others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from agentcg.bpf.memory_delay import DelayEvent, MemoryDelay
from agentcg.daemon.bench import inversion, loads, probes
from agentcg.daemon.bench.delaying import delaying
from agentcg.daemon.bench.figures import Figure
from agentcg.daemon.bench.loads import Load, bench, percentile
from agentcg.errors import BpfError

DELAYS_MS = (0, 1, 10, 50, 200, 1000)
SOFT_BYTES = 8 << 20
STEP_BYTES = 2 << 20
CROSSINGS, LONG_CROSSINGS = 25, 8
CROSSING_NS = 20_000_000
LONG_BYTES = 8 << 20
KEPT_MIB = 64
Say = Callable[[str], None]


def run(seconds: float, say: Say, only: str = "") -> Iterator[list[Figure]]:
    """The figures of each part when it is over, or of those whose title has `only` in it."""
    for title, measure in PARTS.items():
        if only in title:
            say(title)
            yield measure(seconds, say)


def _cost(seconds: float, say: Say) -> list[Figure]:
    return probes.cost(seconds)


def _rates(seconds: float, say: Say) -> list[Figure]:
    with delaying(say) as delay:
        return _each_rate(delay, seconds, say)


def _each_rate(delay: MemoryDelay, seconds: float, say: Say) -> list[Figure]:
    events: list[DelayEvent] = []
    alone = _alone(seconds)
    found = [Figure("high's rate of allocation without low", "MB/s", alone, None)]
    plain: tuple[float, float] | None = None
    for delay_ms in DELAYS_MS:
        say(f"  {delay_ms} ms")
        low, high, seen = _rate(delay, delay_ms, seconds)
        plain = plain or (low, high)
        found += [
            Figure(f"low's rate of allocation, delay {delay_ms} ms", "MB/s", plain[0], low),
            Figure(f"high's rate beside it, delay {delay_ms} ms", "MB/s", plain[1], high, alone),
        ]
        events += seen
    return [
        *found,
        *_release("one that computes", _beside_busy(delay, seconds)),
        *_release("high, which allocates and frees", events),
    ]


def _alone(seconds: float) -> float:
    with bench() as b:
        (writer,) = b.load(_writer(seconds, KEPT_MIB), b.below(b.cgroup, "high"))
        writer.go()
        return float(writer.result())


def _rate(
    delay: MemoryDelay, delay_ms: int, seconds: float
) -> tuple[float, float, list[DelayEvent]]:
    """MB/s of low, which has to wait, and of high beside it."""
    with bench() as b:
        low, high = b.below(b.cgroup, "low"), b.below(b.cgroup, "high")
        code = _writer(seconds, KEPT_MIB)
        writers = [*b.load(code, low), *b.load(code, high)]
        if delay_ms:
            delay.set(low.id, SOFT_BYTES, 0, "low", delay_ms * 1_000_000)
            delay.trace(low.id, True)
        for one in writers:
            one.go()
        rates = [one.result() for one in writers]
        delay.clear(low.id)
        return rates[0], rates[1], delay.events()


def _beside_busy(delay: MemoryDelay, seconds: float) -> list[DelayEvent]:
    """Delays of 10 ms while the CPU is in user mode otherwise: nothing there holds up a timer."""
    with bench() as b:
        low, other = b.below(b.cgroup, "low"), b.below(b.cgroup, "other")
        (writer,) = b.load(_writer(seconds, KEPT_MIB), low)
        delay.set(low.id, SOFT_BYTES, 0, "low", 10_000_000)
        delay.trace(low.id, True)
        b.load(loads.BUSY, other)[0].go()
        writer.go()
        writer.result()
        delay.clear(low.id)
        return delay.events()


def _writer(seconds: float, keep_mib: int) -> str:
    return loads.WRITER.format(seconds=seconds, keep_mib=keep_mib)


def _release(beside: str, events: list[DelayEvent]) -> list[Figure]:
    late = [(one.released_ns - one.until_ns) / 1000 for one in events] or [0.0]
    return [
        Figure(f"delays beside {beside}", "", None, len(events)),
        Figure("..., lateness of release, median", "us", None, percentile(late, 0.5)),
        Figure("..., lateness of release, max", "us", None, max(late), 1000),
    ]


def _reaction(seconds: float, say: Say) -> list[Figure]:
    """Each time the budget is a little above what low holds, until it crosses it."""
    found = []
    page, goals = _writer(60, 4096), (50, 200, 0.3)
    long = loads.FILE_GROWER.format(path=str(inversion.SHARED), chunk=LONG_BYTES)
    for what, code, beside, count, ideals in (
        ("a page", page, False, CROSSINGS, goals),
        ("a page, beside high", page, True, CROSSINGS, goals),
        ("a write of 8 MiB", long, False, LONG_CROSSINGS, (None, None, None)),
    ):
        say(f"  {what}")
        with delaying(say) as delay:
            events = _crossings(delay, code, beside, count)
        off = [(one.stopped_ns - one.noticed_ns - one.waited_ns) / 1000 for one in events]
        waited = [one.waited_ns / 1000 for one in events]
        over = [one.over_bytes / 1e6 for one in events]
        name = f"from the charge over the budget to off the CPU, {what}"
        found += [
            Figure(f"{name}, median", "us", None, percentile(off, 0.5), ideals[0]),
            Figure("..., max", "us", None, max(off), ideals[1]),
            Figure("..., meanwhile waited for a CPU, max", "us", None, max(waited)),
            Figure("..., over the budget then, median", "MB", None, percentile(over, 0.5)),
            Figure("..., over the budget then, max", "MB", None, max(over), ideals[2]),
        ]
    return found


def _crossings(delay: MemoryDelay, code: str, beside: bool, count: int) -> list[DelayEvent]:
    with bench() as b:
        low, high = b.below(b.cgroup, "low"), b.below(b.cgroup, "high")
        (writer,) = b.load(code, low)
        found: list[DelayEvent] = []
        if beside:
            b.load(_writer(60, KEPT_MIB), high)[0].go()
        for turn in range(count):
            held = int((low.path / "memory.current").read_text())
            delay.set(low.id, held + STEP_BYTES + turn * 52 * 1024, 0, "low", CROSSING_NS)
            delay.trace(low.id, True)
            since_ns = time.monotonic_ns()
            if not turn:
                writer.go()
            found.append(_next(delay, writer, since_ns))
        delay.clear(low.id)
    inversion.SHARED.unlink(missing_ok=True)
    return found


def _next(delay: MemoryDelay, writer: Load, since_ns: int) -> DelayEvent:
    """The first delay whose charge was noticed since then."""
    while writer.runs():
        for event in delay.events():
            if event.noticed_ns >= since_ns:
                return event
        time.sleep(0.005)
    raise BpfError("a load ended before it was over its budget")


def _polled(seconds: float, say: Say) -> list[Figure]:
    """What a poller that freezes lets through: bytes over the budget when it acts."""
    over: list[float] = []
    with delaying(say), bench() as b:
        low = b.below(b.cgroup, "low")
        for turn in range(max(3, int(seconds))):
            (writer,) = b.load(_writer(seconds, 4096), low)
            time.sleep(0.013 * turn)  # another phase each time
            writer.go()
            held = 0
            while held <= SOFT_BYTES:
                time.sleep(0.1)
                held = int((low.path / "memory.current").read_text())
            over.append((held - SOFT_BYTES) / 1e6)
            writer.stop()
            os.sched_yield()
    name = "bytes over the budget when a poller of 100 ms notices, median"
    return [Figure(name, "MB", percentile(over, 0.5), None)]


PARTS: dict[str, Callable[[float, Say], list[Figure]]] = {
    "what noticing costs who is not over a budget": _cost,
    "reaction": _reaction,
    "rates and release": _rates,
    "what it does to others": inversion.measure,
    "polling every 100 ms, beside it": _polled,
}
