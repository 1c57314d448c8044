# SPDX-License-Identifier: Apache-2.0
"""The service: all parts put together, their life, and the regular look at everything."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import agentcg
from agentcg.cgroups import Watcher, find_mount
from agentcg.daemon.messages import (
    Control,
)
from agentcg.daemon.service import bounds
from agentcg.daemon.service.accounts.history import History
from agentcg.daemon.service.accounts.tracking import Tracking
from agentcg.daemon.service.calls.by_hand import ByHand
from agentcg.daemon.service.calls.calls import Calls
from agentcg.daemon.service.calls.endings import Endings
from agentcg.daemon.service.calls.forecasts import Forecasts
from agentcg.daemon.service.clock import CLOCK
from agentcg.daemon.service.controls import controls, detection
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.detection.adopting import Adopting
from agentcg.daemon.service.detection.detecting import Detecting
from agentcg.daemon.service.detection.found import Found
from agentcg.daemon.service.detection.hooks import Hooks
from agentcg.daemon.service.enforce.grants import Grants
from agentcg.daemon.service.enforce.idle import IdleWindows
from agentcg.daemon.service.enforce.ladder import Ladder
from agentcg.daemon.service.enforce.ladder_load import Loads
from agentcg.daemon.service.enforce.leases import Leases
from agentcg.daemon.service.enforce.release import release_all
from agentcg.daemon.service.enforce.shares import Shares
from agentcg.daemon.service.host import tasks
from agentcg.daemon.service.host.mover import Mover
from agentcg.daemon.service.host.policy_watch import PolicyWatch
from agentcg.daemon.service.host.pressure import PressureWatch
from agentcg.daemon.service.host.root import Root
from agentcg.daemon.service.intents.intents import Intents
from agentcg.daemon.service.news import BpfNews, FileNews
from agentcg.daemon.service.overview import Overview
from agentcg.daemon.service.past import Past
from agentcg.daemon.service.reconcile import Reconciler
from agentcg.daemon.service.rules import PolicyInForce
from agentcg.daemon.service.sampling import Sampling
from agentcg.daemon.service.scheduler.scheduling import Scheduling, Wanted
from agentcg.daemon.service.sessions import Sessions
from agentcg.daemon.service.state import LiveCall, LiveSession
from agentcg.errors import StartupError
from agentcg.policies.signatures import Signatures

log = logging.getLogger(__name__)


def _nothing() -> None:
    """There is nothing to catch up with."""


class Service:
    """Sessions, calls, intents and what happens to them. `start` and `stop` on one loop.

    `pins`: where the programs that account are pinned, if they can be had; None: cgroup files
    count alone. `signatures`: by what calls are found that nobody declares, None: they are not
    looked for. `ladder`: whether to act under memory pressure beyond what grants do. `history`:
    where ended calls are kept; None: nowhere.
    `scheduler`: whether to load the sched_ext scheduler, "auto": where it is suited;
    `agents_alone`: for tasks in sessions and no other; `memory_delay`: and to have it delay calls
    over their leases.
    """

    def __init__(
        self,
        root: Root,
        policy: PolicyInForce,
        *,
        pins: Path | None,
        signatures: Signatures | None = None,
        ladder: bool = True,
        history: History | None = None,
        scheduler: Wanted = "off",
        agents_alone: bool = False,
        memory_delay: bool = True,
    ) -> None:
        watcher: Watcher[LiveCall | LiveSession | str] = Watcher()
        self.core = Core(
            root, policy, watcher, Tracking(root.cgroup.path), history=history or History(None)
        )
        self._pins = pins
        self._mover = Mover(quick=find_mount().favordynmods)
        self._endings = Endings(self.core)
        loads = Loads(self.core)
        self._leases = Leases(self.core, loads, enabled=ladder)
        self._grants = Grants(self.core, self._leases)
        self._shares = Shares(self.core)
        self.intents = Intents(self.core)
        self.forecasts = Forecasts(self.core)
        self.sessions = Sessions(self.core, self._endings, self._mover, self._grants)
        self.calls = Calls(self.core, self.intents, self._endings, self._mover, self._grants)
        self._found = Found(self.core, self.calls, self._endings, self._mover)
        self.detecting, adopting = self._detection(signatures)
        parts = (self.sessions, self.calls, self.intents, self._endings)
        catch_up = _nothing if self.detecting is None else self.detecting.catch_up
        self.hooks = Hooks(self.core, parts, adopting, signatures, catch_up)
        self._sampling = Sampling(
            self.core, self._endings, self._grants, self.intents, self.sessions
        )
        self._pressure = PressureWatch(self.core)
        self.ladder = Ladder(self.core, self._grants, loads)
        self._file_news = FileNews(
            self.core, self._endings, self._leases, self.ladder, self._pressure
        )
        self._bpf_news = BpfNews(self.core, self._endings, self._found, self.detecting)
        self.core.waiting.on_room = self.ladder.room_is_back
        self.past = Past(self.core, self.calls, self.ladder)
        self.by_hand = ByHand(self.core)
        self._climbs = ladder
        self.idle = IdleWindows(self.core)
        self.intents.on_announced = self.idle.announced
        self.scheduling = Scheduling(
            self.core, wanted=scheduler, delays=memory_delay, agents_alone=agents_alone
        )
        self._reconciler = Reconciler(self.core, self._endings)
        self._policy_watch = PolicyWatch(policy.directory, self._policy_files_changed)
        self.overview = Overview(self.core, self._controls, self._share_anew)
        self._tasks: list[asyncio.Task[None]] = []

    def _detection(self, signatures: Signatures | None) -> tuple[Detecting | None, Adopting | None]:
        """Who looks for calls that nobody declared and for agents; nobody without signatures."""
        if signatures is None:
            return None, None
        adopting = Adopting(self.core, self.sessions, signatures)
        return Detecting(self.core, self._found, adopting, signatures), adopting

    # --- Life ---

    def start(self) -> None:
        """Adopt what is there and begin to watch. Accounting by BPF follows by itself."""
        self.core.apply_host_bound()
        release_all(self.core.root)
        self.core.history.start()
        self._reconciler.run()
        self._leases.adopt()
        self.intents.adopt()
        self._share_anew()
        self._file_news.start()
        self._policy_watch.start()
        self._tasks.append(tasks.start(self._tick(), "tick"))
        self._tasks.append(tasks.start(self.forecasts.recall(), "recall"))
        self._tasks.append(tasks.start(self.idle.run(), "idle"))
        if self._climbs:
            self._tasks.append(tasks.start(self.ladder.run(), "ladder"))
        if self._pins is not None:
            self._tasks.append(tasks.start(self._bpf_news.start(self._pins), "bpf"))
        self._tasks.append(tasks.start(self.scheduling.run(), "scheduler"))
        self.core.bus.publish("daemon.started", f"agentcg {agentcg.__version__}")

    async def require_bpf(self) -> None:
        """Wait until it is decided how calls are accounted; raises `StartupError` without BPF."""
        await asyncio.gather(*(task for task in self._tasks if task.get_name() == "bpf"))
        if self.core.tracking.state != "bpf":
            raise StartupError(
                f"accounting by BPF cannot be had: {self.core.tracking.reason}",
                remedy="`agentcg doctor` says what is missing; --bpf auto starts without it",
            )

    async def require_scheduler(self) -> None:
        """Wait until the scheduler is loaded; raises `StartupError` where it cannot be."""
        await self.scheduling.decided.wait()
        if self.scheduling.state != "loaded":
            raise StartupError(
                f"the scheduler cannot be loaded: {self.scheduling.reason}",
                remedy="--scheduler auto starts without it",
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
        self._policy_watch.close()
        self.ladder.close()
        self.idle.close()
        self.scheduling.close()
        self._bpf_news.close()
        self._file_news.close()
        self._mover.close()
        self._grants.close()
        self._shares.close()
        for session in self.core.registry.sessions.values():
            for call in session.calls.values():
                call.cgroup.close()
            for server in session.servers.values():
                server.cgroup.close()
            session.runtime.close()
            session.cgroup.close()
        self.core.root.close()
        self.core.history.stop()

    def _policy_files_changed(self) -> None:
        if self.core.policy.has_changed():
            self.reload()

    def reload(self) -> None:
        """Take the policy on disk. It holds for what is opened and begun from now on."""
        if self.core.policy.reload(self.core.apply_host_bound):
            self._share_anew()
            self.core.bus.publish("policy.reloaded", self.core.policy.policy.source)
        else:
            self.core.bus.publish("policy.rejected", self.core.policy.error or "")

    def _share_anew(self) -> None:
        """The policy, or the bound over all sessions, is another one."""
        self._grants.share_protection()
        self._shares.changed()

    # --- The regular look ---

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(bounds.TICK_S)
            try:
                await self._look()
            except Exception:  # a bug in one look must not end all looking
                log.exception("the regular look failed")
            if not self.core.registry.sessions:
                await self._until_somebody_comes()

    async def _look(self) -> None:
        self.core.tracking.catch_up()
        if not self.core.registry.calls:
            CLOCK.follow()
        self._sampling.tick()
        if self.detecting is not None:
            await self.detecting.tick()
        self._shares.tick()
        self.idle.wake()
        if self.core.registry.sessions:
            self.ladder.wake()

    async def _until_somebody_comes(self) -> None:
        """Without sessions nothing changes unannounced but the time of day."""
        came = asyncio.Event()
        self.core.registry.on_first = came.set
        with suppress(TimeoutError):
            async with asyncio.timeout(bounds.QUIET_TICK_S):
                await came.wait()

    # --- What is in force ---

    def _controls(self) -> list[Control]:
        """What all parts say of themselves."""
        found = controls(
            self.core,
            pressure_missing=self._pressure.missing,
            watch_missing=self._policy_watch.missing,
            left_alone=self._reconciler.problems,
        )
        found += self.core.history.controls()
        if self.detecting is not None:
            lost, unplaced, quick = self.detecting.lost, self._found.unplaced, self._mover.quick
            found.append(detection(self.detecting.reason, lost, unplaced, quick=quick))
        found += self.scheduling.controls()
        return found
