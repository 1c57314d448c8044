# SPDX-License-Identifier: Apache-2.0
"""Accounting by BPF, where it can be had; nothing here fails a call when it cannot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from agentcg.bpf import Accounting, Counters, Curve, ExecEvent, ExitEvent, OomEvent
from agentcg.daemon.service.clock import CLOCK
from agentcg.errors import BpfError

log = logging.getLogger(__name__)

State = Literal["bpf", "cgroup", "starting"]
BpfEvent = ExecEvent | ExitEvent | OomEvent


class Tracking:
    """Tracks leaves in BPF once the programs are attached; before and without it, does nothing.

    `state`: "starting" until that is decided, then "bpf", or "cgroup" with `reason` saying why
    only cgroup files count. `scope`: the root of all sessions; what runs elsewhere pays nothing.
    """

    def __init__(self, scope: Path) -> None:
        self._scope = scope
        self._accounting: Accounting | None = None
        self._on_event: Callable[[BpfEvent], None] = lambda _: None
        self.state: State = "cgroup"
        self.reason = "switched off (--bpf off)"

    async def start(self, pins: Path, on_event: Callable[[BpfEvent], None]) -> bool:
        """Attach off the loop, then deliver events on it. False where BPF cannot be had.

        `pins`: where the programs are pinned; daemons on different roots need different ones.
        """
        self.state, self.reason = "starting", "programs are being attached"
        loop = asyncio.get_running_loop()
        try:
            self._accounting = await loop.run_in_executor(
                None, partial(Accounting.open, pins, scope=self._scope)
            )
        except (BpfError, OSError) as error:
            self.state, self.reason = "cgroup", str(error)
            log.warning("accounting from cgroup files alone: %s", error)
            return False
        self.state, self.reason = "bpf", "raw tracepoints"
        self._on_event = on_event
        loop.add_reader(self._accounting.fileno(), self.catch_up)
        return True

    def catch_up(self) -> None:
        """Deliver what the kernel has written so far: before an account is closed, too."""
        if self._accounting is not None:
            for event in self._accounting.poll():
                self._on_event(event)

    def track(self, cgroup_id: int, first_pid: int | None = None) -> None:
        """Count what happens in a leaf; one that is tracked already keeps its counts."""
        if self._accounting is not None:
            try:
                self._accounting.track(cgroup_id, first_pid)
            except BpfError as error:
                log.warning("a call is accounted from cgroup files alone: %s", error)

    def untrack(self, cgroup_id: int) -> tuple[Counters | None, Curve | None]:
        """Stop counting, and the counts and the curve so far."""
        return (None, None) if self._accounting is None else self._accounting.finish(cgroup_id)

    def counters(self, cgroup_id: int) -> Counters | None:
        """The counts so far."""
        return None if self._accounting is None else self._accounting.counters(cgroup_id)

    def curve(self, cgroup_id: int) -> Curve | None:
        """How its use went so far; None where that is not drawn, or there is nothing yet."""
        return None if self._accounting is None else self._accounting.curve(cgroup_id)

    @property
    def curves_missing(self) -> str | None:
        """Why no curves are drawn; None: they are."""
        if self._accounting is None:
            return self.reason
        return None if self._accounting.draws_curves else "the kernel lacks sched_stat_runtime"

    def tracked(self) -> set[int]:
        """Leaves that are tracked, those of an earlier daemon included."""
        return set() if self._accounting is None else self._accounting.tracked()

    @property
    def events_lost(self) -> int:
        """Events that found the ring buffer full."""
        return 0 if self._accounting is None else self._accounting.lost

    def close(self) -> None:
        """Let go; the pinned programs go on counting for the next daemon."""
        if self._accounting is not None:
            asyncio.get_running_loop().remove_reader(self._accounting.fileno())
            self._accounting.close()
            self._accounting = None


def wall_time(boottime_ns: int) -> float:
    """Seconds since the epoch of a CLOCK_BOOTTIME reading, by the daemon's clock."""
    return CLOCK.boot_time + boottime_ns / 1e9
