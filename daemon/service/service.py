# SPDX-License-Identifier: Apache-2.0
"""The service: all parts put together, and the loop's side of it."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Literal

import msgspec

import agentcg
from agentcg.bpf import ExecEvent, OomEvent
from agentcg.cgroups import Watcher
from agentcg.daemon.messages import ChangeHost, Control, Executed, Health, Host
from agentcg.daemon.service import bounds
from agentcg.daemon.service.calls import Calls
from agentcg.daemon.service.controls import controls
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.endings import Endings
from agentcg.daemon.service.grants import Grants
from agentcg.daemon.service.hostview import host_view
from agentcg.daemon.service.intents import Intents
from agentcg.daemon.service.ladder import Ladder
from agentcg.daemon.service.ladder_apply import release_all
from agentcg.daemon.service.measure import COMMANDS_KEPT
from agentcg.daemon.service.mover import Mover
from agentcg.daemon.service.peers import Peer, require_admin
from agentcg.daemon.service.pressure import PressureWatch
from agentcg.daemon.service.reconcile import Reconciler
from agentcg.daemon.service.root import Root
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.sampling import Sampling
from agentcg.daemon.service.sessions import Sessions
from agentcg.daemon.service.state import LiveCall
from agentcg.daemon.service.tracking import BpfEvent, Tracking, wall_time
from agentcg.errors import AgentcgError, StartupError

log = logging.getLogger(__name__)


class Service:
    """Sessions, calls, intents and what happens to them. `start` and `stop` on one loop.

    `pins`: where the programs that account are pinned, if they can be had; None: cgroup files
    count alone. `ladder`: whether to act under memory pressure beyond what grants do.
    """

    def __init__(
        self, root: Root, policy: PolicyInForce, *, pins: Path | None, ladder: bool = False
    ) -> None:
        watcher: Watcher[LiveCall | str] = Watcher()
        self.core = Core(root, policy, watcher, Tracking(root.cgroup.path))
        self._pins = pins
        self._mover = Mover()
        self._endings = Endings(self.core)
        self._grants = Grants(self.core)
        self.intents = Intents(self.core)
        self.sessions = Sessions(self.core, self._endings, self._mover, self._grants)
        self.calls = Calls(self.core, self.intents, self._endings, self._mover, self._grants)
        self._sampling = Sampling(
            self.core, self._endings, self._grants, self.intents, self.sessions
        )
        self._pressure = PressureWatch(self.core)
        self.ladder = Ladder(self.core, self._grants)
        self._climbs = ladder
        self._reconciler = Reconciler(self.core, self._endings)
        self.started_at = self.core.clock()
        self._tasks: list[asyncio.Task[None]] = []

    # --- Life ---

    def start(self) -> None:
        """Adopt what is there and begin to watch. Accounting by BPF follows by itself."""
        loop = asyncio.get_running_loop()
        self.core.apply_host_bound()
        release_all(self.core.root)
        self._reconciler.run()
        self._grants.share_protection()
        self._pressure.start()
        loop.add_reader(self.core.watcher.fileno(), self._watched)
        self._tasks.append(loop.create_task(self._tick(), name="tick"))
        if self._climbs:
            self._tasks.append(loop.create_task(self.ladder.run(), name="ladder"))
        if self._pins is not None:
            self._tasks.append(loop.create_task(self._start_bpf(self._pins), name="bpf"))
        self.core.bus.publish("daemon.started", f"agentcg {agentcg.__version__}")

    async def require_bpf(self) -> None:
        """Wait until it is decided how calls are accounted; raises `StartupError` without BPF."""
        await asyncio.gather(*(task for task in self._tasks if task.get_name() == "bpf"))
        if self.core.tracking.state != "bpf":
            raise StartupError(
                f"accounting by BPF cannot be had: {self.core.tracking.reason}",
                remedy="`agentcg doctor` says what is missing; --bpf auto starts without it",
            )

    def stopping(self) -> None:
        """Tell readers of events, while they can still be told."""
        self.core.bus.publish("daemon.stopping", "Sessions and calls go on.")

    async def stop(self) -> None:
        """Let go of everything. Sessions, calls and their grants stay as they are; whoever the
        ladder holds back goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.ladder.close()
        asyncio.get_running_loop().remove_reader(self.core.watcher.fileno())
        self.core.tracking.close()
        self.core.watcher.close()
        self._mover.close()
        self._grants.close()
        for session in self.core.registry.sessions.values():
            for call in session.calls.values():
                call.cgroup.close()
            session.runtime.close()
            session.cgroup.close()
        self.core.root.close()

    def reload(self) -> None:
        """Take the policy on disk. It holds for what is opened and begun from now on."""
        if self.core.policy.reload():
            self.core.apply_host_bound()
            self._grants.share_protection()
            self.core.bus.publish("policy.reloaded", self.core.policy.policy.source)
        else:
            self.core.bus.publish("policy.rejected", self.core.policy.error or "")

    # --- What the kernel tells ---

    def _watched(self) -> None:
        for token in self.core.watcher.poll():
            try:
                if isinstance(token, LiveCall):
                    self._endings.populated_changed(token)
                else:
                    self.ladder.wake()
                    self._pressure.fired(token)
            except AgentcgError as error:
                log.error("%s", error)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(bounds.TICK_S)
            try:
                self._sampling.tick()
                if self.core.registry.sessions:
                    self.ladder.wake()
            except Exception:  # a bug in one look must not end all looking
                log.exception("the regular look failed")

    async def _start_bpf(self, pins: Path) -> None:
        tracking, registry = self.core.tracking, self.core.registry
        if not await tracking.start(pins, self._bpf_event):
            return
        for cgroup_id in tracking.tracked() - registry.by_cgroup.keys():
            tracking.untrack(cgroup_id)  # ended while no daemon was there
        for cgroup_id in list(registry.by_cgroup):
            tracking.track(cgroup_id)

    def _bpf_event(self, event: BpfEvent) -> None:
        call = self.core.registry.by_cgroup.get(event.cgroup_id)
        if call is None:
            return
        if isinstance(event, ExecEvent):
            if len(call.commands) < COMMANDS_KEPT:
                at = wall_time(event.time_ns)
                call.commands.append(Executed(time_s=at, pid=event.pid, argv=event.argv))
        elif isinstance(event, OomEvent):
            call.kills += 1
            call.victim = call.victim or f"{event.comm}[{event.pid}]"
            self._endings.tell_oom(call)

    # --- The host and the daemon ---

    def host(self) -> Host:
        """The machine, and what agents have of it."""
        return host_view(self.core.root.cgroup, self.core.registry, self.core.memory_max_bytes())

    def change_host(self, peer: Peer, request: ChangeHost) -> Host:
        """Bound what all sessions together may use; it survives the daemon."""
        require_admin(peer, "change the bounds of this host")
        root = self.core.root
        before = root.record
        root.save(msgspec.structs.replace(before, memory_max_bytes=request.memory_max_bytes))
        try:
            self.core.apply_host_bound()
        except AgentcgError:
            root.save(before)
            raise
        self._grants.share_protection()
        return self.host()

    def _state(self, found: list[Control]) -> Literal["ok", "degraded", "starting"]:
        if self.core.tracking.state == "starting":
            return "starting"
        enforced = all(control.state == "enforced" for control in found)
        return "ok" if enforced and self.core.policy.error is None else "degraded"

    def health(self) -> Health:
        """How the daemon is, and what of it is in force."""
        core = self.core
        found = controls(core, self._pressure.missing, self._reconciler.problems)
        return Health(
            state=self._state(found),
            version=agentcg.__version__,
            pid=os.getpid(),
            started_at=self.started_at,
            uptime_s=max(0.0, core.clock() - self.started_at),
            policy=core.policy.policy.source,
            policy_error=core.policy.error,
            accounting=core.tracking.state,
            events_lost=core.tracking.events_lost,
            controls=found,
        )
