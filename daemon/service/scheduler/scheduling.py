# SPDX-License-Identifier: Apache-2.0
"""The sched_ext scheduler in the daemon: loaded where suited or asked for, watched, given back."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Literal

from agentcg.bpf import memory_delay
from agentcg.bpf.scheduler import SCHED_EXT, Scheduler, absence
from agentcg.cgroups.thread_policy import may_change
from agentcg.daemon.messages import Control
from agentcg.daemon.service.accounts.counts import scheduled_of
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.scheduler.agents import REFUSED, UNABLE, AgentTasks
from agentcg.daemon.service.scheduler.favours import Favours
from agentcg.daemon.service.scheduler.memcg import KernelDelay
from agentcg.daemon.service.scheduler.tracing import Tracing
from agentcg.errors import BpfError

ALL = "full switch: all normal tasks of the host"
AGENTS = "partial switch: agents' tasks (SCHED_EXT); others come first, with the kernel's own class"
SWITCHED_OFF = "switched off (--scheduler off)"
LOOK_S = 1.0  # how often to see whether the kernel has taken the scheduler out

log = logging.getLogger(__name__)

State = Literal["off", "starting", "loaded", "ended"]
Wanted = Literal["auto", "off", "on"]
MOST_CPUS = 8
"""On how many `auto` loads it: on so many it was measured."""


class Scheduling:
    """Holds the scheduler for as long as the daemon lives, and has it delay by budgets.

    `state`: "off" with `reason`, "starting", "loaded", or "ended" once the kernel has taken it
    out again (`reason` says why); then it is not loaded a second time by itself, since what stalled
    once may stall again. When a CPU comes or goes the kernel asks for just that.
    """

    def __init__(
        self, core: Core, *, wanted: Wanted, delays: bool, agents_alone: bool = False
    ) -> None:
        """`agents_alone`: of all tasks of the host take those in sessions, and no other."""
        self.state: State = "off" if wanted == "off" else "starting"
        self.reason = SWITCHED_OFF if wanted == "off" else "being loaded"
        self.decided = asyncio.Event()
        self.tracing = Tracing(core)
        self._core = core
        self._by_itself = wanted == "auto"
        self._delays = delays
        self._agents_alone = agents_alone
        self._agents = AgentTasks(core.root.cgroup.path)
        self._kernel_delay = KernelDelay(core, wanted=delays)
        self._faulty = False
        self._scheduler: Scheduler | None = None
        self._favours: Favours | None = None

    async def run(self) -> None:
        """Load it off the loop, then watch until it ends. Delays are the kernel's where it can."""
        try:
            await self._kernel_delay.start()
            if SCHED_EXT.is_dir() and not (self._agents_alone and self.state == "starting"):
                await self._agents.give_back()  # whom a killed daemon left taken
            while self.state in ("starting", "loaded") or self._kernel_delay.active:
                if self.state == "starting":
                    await self._load()
                    self.decided.set()
                if self._scheduler is not None:
                    self._look(self._scheduler)
                await self._agents.look()
                self._core.budgets.heartbeat()
                await asyncio.sleep(LOOK_S)
        finally:
            self.decided.set()  # whatever went wrong: the daemon's start waits for it

    def controls(self) -> list[Control]:
        """For `agentcg doctor`."""
        state: Literal["enforced", "degraded", "off"] = "degraded" if self._faulty else "off"
        if self.state == "loaded":
            state = "degraded" if self._weakness() else "enforced"
        return [
            Control(name="scheduler", state=state, backend="sched_ext", detail=self._detail()),
            self._delay_control(),
            self._kernel_delay.control(),
        ]

    def _detail(self) -> str:
        if self.state != "loaded":
            return self.reason
        return "; ".join(filter(None, (AGENTS if self._agents_alone else ALL, self._weakness())))

    def _weakness(self) -> str:
        return self.reason or (REFUSED if self._agents.refused else "")

    def _delay_control(self) -> Control:
        missing = "goes with the scheduler"
        if self._scheduler is not None:
            there = self._scheduler.memory_delay is not None
            missing = "" if there else self._no_delay(self._scheduler)
        if self._kernel_delay.active:
            missing = "not needed: the kernel delays by itself (memcg struct_ops)"
        return Control(
            name="memory delay",
            state="off" if missing else "enforced",
            backend="sched_ext and fentry",
            detail=missing,
        )

    def _no_delay(self, scheduler: Scheduler) -> str:
        return scheduler.no_delay if self._delays else "switched off (--memory-delay off)"

    def close(self) -> None:
        """Leave the kernel to itself."""
        self._core.budgets.stop()
        self._kernel_delay.close()
        self._unload_for_good()

    def _unload_for_good(self) -> None:
        """The same to tasks that were taken: nobody is to take them."""
        self._unload()
        if self._agents_alone:
            self._agents.give_back_now()

    def _unload(self) -> None:
        """Give the CPUs back to the kernel's own scheduler."""
        if not self._kernel_delay.active:
            self._core.budgets.stop()
        if self._scheduler is not None:
            self._core.counts.scheduled.stop()
            self.tracing.stop()
            self._agents.stop()
            self._scheduler.close()
            self._scheduler = None

    async def _load(self) -> None:
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            self._scheduler = await asyncio.shield(opening)
        except asyncio.CancelledError:  # the thread cannot be stopped: undo what it does
            opening.add_done_callback(_undo)
            raise
        except (BpfError, OSError) as error:
            self._stay_off(str(error))
            return
        if bounded := self._scheduler.unbounded():
            self._stay_off(_unfit(bounded))
            return
        self.state, self.reason = "loaded", ""
        self._favours = Favours(self._scheduler)
        self.tracing.start(self._scheduler)
        cpu_use = self._scheduler.cpu_use
        self._core.counts.scheduled.start(lambda cgroup_id: scheduled_of(cpu_use(cgroup_id)))
        if self._scheduler.memory_delay is not None:
            self._core.budgets.start(
                self._scheduler.memory_delay, self._core.registry.calls.values()
            )
        if self._scheduler.arrivals is not None:
            await self._agents.start(self._scheduler.arrivals)
        log.info("the sched_ext scheduler is in charge: %s", self._detail())

    def _open(self) -> Scheduler:
        if self._by_itself and (reason := absence() or unsuited(cpus(), memory_delay.absence())):
            raise BpfError(reason)
        if self._agents_alone and not absence() and not may_change():
            raise BpfError(UNABLE)
        return Scheduler.open(
            delays=self._delays and not self._kernel_delay.active,
            agents_in=self._core.root.cgroup.id if self._agents_alone else None,
        )

    def _stay_off(self, reason: str) -> None:
        self._unload_for_good()
        self.state, self.reason = "off", reason
        log.log(
            logging.INFO if self._by_itself else logging.WARNING,
            "the kernel's own scheduler stays: %s", reason,
        )  # fmt: skip

    def _look(self, scheduler: Scheduler) -> None:
        why = scheduler.ended()
        bounded = scheduler.unbounded()
        if bounded and not self.reason:
            log.error("the scheduler is in charge, and %s", _unfit(bounded))
        self.reason = _unfit(bounded) if bounded else ""
        if why and scheduler.must_restart():
            log.info("a CPU came or went: the scheduler is loaded again")
            self._unload()
            self.state, self.reason = "starting", "being loaded again: a CPU came or went"
        elif why:
            self._faulty = scheduler.failed()
            self.state, self.reason = "ended", f"the kernel took it out: {why}"
            log.error("the kernel's own scheduler is back: %s", why)
            self._unload_for_good()
        elif self._favours is not None:
            self._favours.follow(self._core.registry.sessions.values())


def unsuited(online: int, no_delay: str) -> str:
    """Why `auto` does not load it on a host with so many CPUs, or ""; `no_delay`: why charges
    cannot be delayed there."""
    if no_delay:
        return f"auto does not load it: {no_delay}; --scheduler on loads it without memory delay"
    if online > MOST_CPUS:
        return f"auto does not load it on {online} CPUs, more than {MOST_CPUS}; --scheduler on does"
    return ""


def cpus() -> int:
    """How many are online."""
    return os.sysconf("SC_NPROCESSORS_ONLN")


def _unfit(bounded: int) -> str:
    return f"cpu.max is set on {bounded} cgroups, and on this kernel it is not honoured"


def _undo(opening: asyncio.Future[Scheduler]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
