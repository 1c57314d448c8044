# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells, handed on to those whom it concerns."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from agentcg.bpf import ExecEvent, ExitEvent, OomEvent
from agentcg.daemon.messages import Executed
from agentcg.daemon.service.accounts.tracking import BpfEvent, wall_time
from agentcg.daemon.service.calls.endings import Endings
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.detection.detecting import Detecting
from agentcg.daemon.service.detection.found import Found
from agentcg.daemon.service.enforce.ladder import Ladder
from agentcg.daemon.service.enforce.leases import Leases
from agentcg.daemon.service.host.pressure import PressureWatch
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.errors import AgentcgError

log = logging.getLogger(__name__)


class FileNews:
    """Of cgroup files that have changed (`memory.events`, `cgroup.events`), and of pressure."""

    def __init__(
        self, core: Core, endings: Endings, leases: Leases, ladder: Ladder, pressure: PressureWatch
    ) -> None:
        self._core = core
        self._endings = endings
        self._leases = leases
        self._ladder = ladder
        self._pressure = pressure

    def start(self) -> None:
        """Hand on what comes, on the running loop."""
        self._pressure.start()
        asyncio.get_running_loop().add_reader(self._core.watcher.fileno(), self._watched)

    def _watched(self) -> None:
        for token in self._core.watcher.poll():
            try:
                if isinstance(token, LiveCall):
                    self._endings.populated_changed(token)
                    self._leases.news(token)
                elif isinstance(token, LiveSession):
                    self._ladder.agents.news(token)
                else:
                    self._ladder.wake()
                    self._pressure.fired(token)
            except AgentcgError as error:
                log.error("%s", error)

    def close(self) -> None:
        """Hand on no more."""
        asyncio.get_running_loop().remove_reader(self._core.watcher.fileno())
        self._core.watcher.close()


class BpfNews:
    """Of what processes in calls execute, how they end and whom the OOM killer takes; where there
    is detection, also of sessions that open and close to it."""

    def __init__(
        self, core: Core, endings: Endings, found: Found, detecting: Detecting | None
    ) -> None:
        self._core = core
        self._endings = endings
        self._found = found
        self._detecting = detecting

    async def start(self, pins: Path) -> None:
        """Attach, and take up what lives by now. Without BPF (health says why) nothing is told."""
        core, tracking, registry = self._core, self._core.tracking, self._core.registry
        if not await tracking.start(pins, self._event):
            return
        for cgroup_id in tracking.tracked() - registry.by_cgroup.keys():
            tracking.untrack(cgroup_id)  # ended while no daemon was there
        for cgroup_id, call in list(registry.by_cgroup.items()):
            tracking.track(cgroup_id, first_pid=call.record.leader)
        if self._detecting is not None:
            core.on_opened = self._detecting.opened
            core.on_closed = self._detecting.closed
            await self._detecting.start(pins)

    def _event(self, event: BpfEvent) -> None:
        call = self._core.registry.by_cgroup.get(event.cgroup_id)
        if call is None:
            return
        if isinstance(event, ExecEvent):
            at = wall_time(event.time_ns)
            call.commands.append(Executed(time_s=at, pid=event.pid, argv=event.argv))
        elif isinstance(event, ExitEvent):
            self._found.exited(call, event.pid, event.status)
        elif isinstance(event, OomEvent):
            call.kills += 1
            call.victim = call.victim or f"{event.comm}[{event.pid}]"
            self._endings.tell_oom(call)

    def close(self) -> None:
        """Let go of the programs; they go on counting for the next daemon."""
        if self._detecting is not None:
            self._detecting.close()
        self._core.tracking.close()
