# SPDX-License-Identifier: Apache-2.0
"""The idle window, carried out: `engine/idle.py` decides, threads of its own write.

Leftovers of ended calls go with the agent's own processes: nobody waits for those, so they are
asked back first and nothing brings them back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from agentcg.cgroups import Cgroup
from agentcg.cgroups.knobs import CPU_STAT, MEMORY_CURRENT, MEMORY_RECLAIM
from agentcg.cgroups.usage import MEMORY_STAT
from agentcg.daemon.engine import idle
from agentcg.daemon.engine.intents import starts_at
from agentcg.daemon.service.accounts import measure
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.host.hostview import Memory
from agentcg.daemon.service.host.swapin import swap_in
from agentcg.daemon.service.host.threads import workers
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import AgentcgError, CgroupError, CgroupGone
from agentcg.policies import IdleRule
from agentcg.units import format_size

log = logging.getLogger(__name__)

SESSIONS_PER_LOOK = 64
LOOK_S = 0.25
AWAITED_S = 10.0
"""So long after its stated start a call is still awaited."""
_WAITING_MAX = 64
SWAPPINESS_ANON = 200  # anonymous memory alone: page cache of an agent is its program
_Look = tuple[idle.Look, float, int]


class IdleWindows:
    """Looks at sessions that run no call, as a task on the loop."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._windows: dict[LiveSession, idle.Window] = {}
        self._cpu: dict[LiveSession, tuple[float, int]] = {}  # when, and microseconds then
        self._turn = 0
        self._reclaimer = workers(1, "idle")
        self._bringer = workers(2, "swap-in")
        self._pending: set[LiveSession] = set()
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Look when woken, and again and again while there is something to do."""
        while True:
            if self._look_by_policy():
                await asyncio.sleep(LOOK_S)
            else:
                await self._woken.wait()
                self._woken.clear()

    def wake(self) -> None:
        """Some time has passed: look."""
        self._woken.set()

    def announced(self, session: LiveSession) -> None:
        """A call of `session` is to come: what was taken may be needed before the next look."""
        window = self._windows.get(session)
        if window is None or not window.began_bytes or window.back or session in self._pending:
            return
        with suppress(CgroupGone):
            self._look_at(session, self._core.policy.policy.idle, Memory.read().swap_free)

    def _look_by_policy(self) -> bool:
        rule = self._core.policy.policy.idle
        try:
            return bool(rule.reclaim) and self.look(rule)
        except Exception:  # a bug in one look must not end all looking
            log.exception("the look at idle sessions failed")
            return False

    def look(self, rule: IdleRule) -> bool:
        """One look at some sessions, in turn; whether any is in a window."""
        sessions = [
            one for one in self._core.registry.sessions.values()
            if one.record.priority in rule.reclaim and not one.closing
        ]  # fmt: skip
        for gone in self._windows.keys() - set(sessions):
            self._windows.pop(gone), self._cpu.pop(gone, None)
        start = self._turn if self._turn < len(sessions) else 0
        chosen = sessions[start : start + SESSIONS_PER_LOOK]
        self._turn = start + len(chosen)
        swap_free = Memory.read().swap_free if chosen else 0
        for session in chosen:
            if session not in self._pending:
                with suppress(CgroupGone):
                    self._look_at(session, rule, swap_free)
        return any(one.phase != "calling" for one in sessions)

    def _look_at(self, session: LiveSession, rule: IdleRule, swap_free: int) -> None:
        now, window = self._core.clock(), self._windows.get(session, idle.Window())
        seen = self._seen(session, now, swap_free)
        if seen is None:
            return
        after, deed = idle.decide(seen, window, after_s=rule.after_s, ahead_s=rule.ahead_s, now=now)
        self._windows[session] = after
        if deed is None:
            return
        if deed.kind == "bring-back":
            self._bring_back(session)
            return
        if not window.began_bytes:
            held = format_size(seen.held_bytes)
            self._core.publish(
                "session.reclaimed", f"idle: asking back some of {held} held by the agent", session
            )
            for call in session.calls.values():
                if call.state == "lingering" and call.memory_bytes:
                    self._reclaim(session, call.cgroup, call.memory_bytes, anon=True)
        self._reclaim(session, session.runtime, deed.size_bytes, anon=swap_free > 0)

    def _seen(self, session: LiveSession, now: float, swap_free: int) -> idle.Look | None:
        if session.phase in ("calling", "paused"):
            self._cpu.pop(session, None)
            return idle.Look(session.record.priority, session.phase, 0.0, False, 0, 0, None, 0.0, 0)
        runtime = session.runtime
        stat, current = runtime.get(MEMORY_STAT), runtime.get(MEMORY_CURRENT)
        held = measure.held_bytes(stat)
        if stat is None or current is None or held is None:
            return None
        pressure = runtime.pressure("memory")
        refaults = (stat.workingset_refault_anon or 0) + (stat.workingset_refault_file or 0)
        said = [one for one in session.intents if one.declared_at <= now < one.expires_at]
        starts = [
            starts_at(one) - now for one in said
            if (one.kind == "call" or one.start_in_s) and starts_at(one) > now - AWAITED_S
        ]  # fmt: skip
        return idle.Look(
            priority=session.record.priority,
            phase=session.phase,
            since_s=now - max(session.active_at, session.phase_since),
            declared=any(one.kind in ("generating", "idle") for one in said),
            held_bytes=current,
            refaults=refaults,
            stall_percent=pressure.some.avg10 if pressure else None,
            busy_share=self._busy(session, now),
            swap_free_bytes=swap_free,
            cache_bytes=max(current - held, 0),
            announced_in_s=min(starts, default=None),
        )

    def _busy(self, session: LiveSession, now: float) -> float:
        cpu_stat = session.runtime.get(CPU_STAT)
        if cpu_stat is None:
            return 0.0
        used = cpu_stat.usage_us
        before = self._cpu.get(session)
        self._cpu[session] = (now, used)
        if before is None or now <= before[0]:
            return 0.0
        return (used - before[1]) / 1e6 / (now - before[0])

    # --- Off the loop ---

    def _reclaim(self, session: LiveSession, cgroup: Cgroup, size: int, *, anon: bool) -> None:
        self._do(
            self._reclaimer, session, cgroup,
            lambda own: _ask_back(own, size, SWAPPINESS_ANON if anon else None),
        )  # fmt: skip

    def _bring_back(self, session: LiveSession) -> None:
        def work(own: Cgroup) -> None:
            for pid in own.procs():
                swap_in(pid)

        self._do(self._bringer, session, session.runtime, work)

    def _do(
        self,
        threads: ThreadPoolExecutor,
        session: LiveSession,
        cgroup: Cgroup,
        act: Callable[[Cgroup], None],
    ) -> None:
        if len(self._pending) >= _WAITING_MAX:
            return
        self._pending.add(session)
        own = cgroup.duplicate()
        loop = asyncio.get_running_loop()

        def work() -> None:
            try:
                with own:
                    act(own)
            except CgroupGone:
                pass
            except AgentcgError as error:
                log.error("%s", error)
            finally:
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._pending.discard, session)

        threads.submit(work)

    def close(self) -> None:
        """Finish what was begun."""
        for threads in (self._reclaimer, self._bringer):
            threads.shutdown(wait=False, cancel_futures=True)


def _ask_back(own: Cgroup, size_bytes: int, swappiness: int | None) -> None:
    """By `memory.reclaim`; kernels before 6.9 take no swappiness."""
    try:
        own.reclaim(size_bytes, swappiness=swappiness)
    except CgroupGone:
        raise
    except CgroupError as error:
        if swappiness is None or error.knob != MEMORY_RECLAIM:
            raise
        own.reclaim(size_bytes)
