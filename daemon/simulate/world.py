# SPDX-License-Identifier: Apache-2.0
"""Discrete events: agents think and call, processes grow and end, hosts fill up.

An event is (time, order, kind, subject, version). A process has one pending event, its next
change under what holds now; if that changes, its version does, and the old event is void.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from enum import IntEnum
from math import inf
from typing import Any

from agentcg.daemon.simulate.controls import Control
from agentcg.daemon.simulate.kernel import victim
from agentcg.daemon.simulate.pool import Pool
from agentcg.daemon.simulate.process import EPSILON_BYTES, Process
from agentcg.daemon.simulate.session import Host, LiveCall, RunStats, Session, candidates, count

REGULAR_LOOK_S = 1.0  # the daemon's own tick
CROWDED_LOOK_S = 0.25  # shares of the CPU are worked out so often while there is too little
WOKEN_S = 0.005  # from a kernel event to the look
RECHECK_S = 1.0  # a call that waits asks again at the latest
RESTART_S = 30.0  # after which a killed agent begins its next program
LEFT_S = 1e-9


class Kind(IntEnum):
    """What an event is about."""

    START = 0
    PROCESS = 1
    DUE = 2
    FULL = 3
    LOOK = 4


class World:
    """Hosts with their sessions under one control. `run` once; `runs` is what came of it."""

    def __init__(self, hosts: Sequence[Host], control: Control, until_s: float = inf) -> None:
        self.hosts = hosts
        self.control = control
        self.until_s = until_s
        self.now = 0.0
        self.runs: list[RunStats] = []
        self.events = 0
        self.harmed = False  # somebody was killed
        self._heap: list[tuple[float, int, int, Any, Any]] = []
        self._order = 0
        self._calls = 0
        self._playing = 0
        self._frozen_at: dict[Process, float] = {}

    def run(self, delays: dict[str, float], *, while_unharmed: bool = False) -> None:
        """Start each session after its delay (by name), go on until all are done or time is up.

        Without `until_s` each session plays its programs once; with it, again and again.
        `while_unharmed`: or until somebody is killed.
        """
        for host in self.hosts:
            self._playing += len(host.sessions)
            host.playing = len(host.sessions)
            self.control.prepare(host)
            for session in host.sessions:
                self._push(delays.get(session.name, 0.0), Kind.START, session, 0)
            self._push(REGULAR_LOOK_S, Kind.LOOK, host, host.look)
        heap, pop = self._heap, heapq.heappop
        while heap and self._playing:
            now, _, kind, subject, version = pop(heap)
            if now > self.until_s:
                break
            if kind == Kind.PROCESS:
                if version != subject.version:
                    continue
                self.now = now
                self._step(subject)
            elif kind == Kind.LOOK:
                if version == subject.look:
                    self.now = now
                    self._look(subject)
            else:
                self.now = now
                self._other(kind, subject, version)
            self.events += 1
            if while_unharmed and self.harmed:
                break
        for session in (session for host in self.hosts for session in host.sessions):
            for process in session.processes:  # what still runs at the end has no wall time
                self._remove(process)

    def _other(self, kind: int, subject: Any, version: Any) -> None:
        if kind == Kind.DUE:
            self._due(subject, *version)
        elif kind == Kind.FULL:
            self._check_full(subject, version)
        else:
            self._start(subject)

    def _push(self, at: float, kind: int, subject: Any, version: Any) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at, self._order, kind, subject, version))

    # --- Processes ---

    def replan(self, process: Process) -> None:
        """Work out anew what comes next for a settled process."""
        host = process.session.host
        slowed = process.meets_high
        if slowed != process.slowed:
            process.slowed = slowed
            if slowed:
                process.high_events += 1
                host.slowed[process] = None
                self.control.met_high(self, process)
                if process.slowed != slowed:
                    return  # it was given more, and planned
            else:
                host.slowed.pop(process, None)
        rate, in_s = process.outlook()
        process.version += 1
        if rate != process.rate:
            by_rate = rate - process.rate
            process.rate = rate
            for pool in process.pools:
                pool.change(self.now, 0.0, by_rate)
        if in_s < inf:
            self._push(self.now + in_s, Kind.PROCESS, process, process.version)
        for pool in process.pools:
            full_s = pool.full_in_s()
            if full_s < in_s:
                self._push(self.now + full_s, Kind.FULL, process.session, pool)

    def update(self, process: Process) -> None:
        """Settle and plan anew: something that holds for it has changed."""
        process.settle(self.now)
        self.replan(process)

    def _step(self, process: Process) -> None:
        process.settle(self.now)
        if process.left_s > LEFT_S:
            if process.at_max and process.call is not None:
                self.kill(process.call, process.session, "limit")
            else:
                self.replan(process)
            return
        host, before = process.session.host, process.cores
        going_on = process.go_on()
        host.cores += process.cores - before
        count(process)
        if going_on or process.call is None:
            self.replan(process)
        if not going_on:
            if process.call is None:
                self._thought(process.session)
            else:
                self._end(process.session, process.call)

    def _add(self, session: Session, call: LiveCall | None, level: float) -> Process:
        pools = (session.host.pool,) if session.pool is None else (session.host.pool, session.pool)
        process = Process(session, call, pools, self.now)
        process.speed = session.speed
        process.level = level
        if level:
            for pool in pools:
                pool.change(self.now, level, 0.0)
        return process

    def _remove(self, process: Process) -> None:
        process.settle(self.now)
        process.version += 1
        host = process.session.host
        host.cores -= process.cores
        host.slowed.pop(process, None)
        for pool in process.pools:
            pool.change(self.now, -process.charged, -process.rate)
        host.swapped_bytes -= process.swapped
        self._thawed(process)
        if process.session.stats is not None:
            process.session.stats.slowed_s += process.slowed_s
        process.level = process.rate = process.swapped = 0.0

    def freeze(self, process: Process, frozen: bool) -> None:
        """Stop a call's processes where they are, or let them go on."""
        process.settle(self.now)
        if frozen and not process.frozen:
            self._frozen_at[process] = self.now
        elif not frozen:
            self._thawed(process)
        process.frozen = frozen
        count(process)
        self.replan(process)

    def _thawed(self, process: Process) -> None:
        since = self._frozen_at.pop(process, None)
        if since is not None and process.session.stats is not None:
            process.session.stats.frozen_s += self.now - since

    # --- Sessions ---

    def _start(self, session: Session) -> None:
        session.round += 1
        if self.until_s == inf and session.round >= len(session.programs):
            session.host.playing -= 1
            self._playing -= 1
            return
        self.runs.append(session.begin(self.now))
        self.control.began(session)
        session.runtime = self._add(session, None, session.program.base_bytes)
        count(session.runtime)
        self._check_pools(session)
        self._think(session)

    def _think(self, session: Session) -> None:
        runtime = session.runtime
        if runtime is None:
            return
        runtime.settle(self.now)
        session.thinks_since = self.now
        if runtime.go(session.now_turn.think):
            session.host.cores += runtime.cores
            self.replan(runtime)
        else:
            self._thought(session)

    def _thought(self, session: Session) -> None:
        calls = session.now_turn.calls
        session.open_calls = len(calls)
        if not calls:
            self._next_turn(session)
            return
        woken_s = session.take_back(self.now)
        self._check_pools(session)
        for index, call in enumerate(calls):
            if call.after is None:
                self._plan_call(session, index, woken_s + call.start_s)

    def _plan_call(self, session: Session, index: int, in_s: float) -> None:
        due = (session.round, session.turn, index)
        if in_s <= 0:
            self._due(session, *due)
        else:
            self._push(self.now + in_s, Kind.DUE, session, due)

    def _due(self, session: Session, round_: int, turn: int, index: int) -> None:
        if session.runtime is None or (session.round, session.turn) != (round_, turn):
            return
        self._calls += 1
        call = LiveCall(f"{self._calls}", index, session.now_turn.calls[index], self.now)
        if not self._begin(session, call):
            session.waiting[call.id] = call
            session.host.waiting[call.id] = (session, call)

    def _begin(self, session: Session, call: LiveCall) -> bool:
        """Begin a call, unless it is to wait."""
        if not self.control.admit(self, session, call):
            return False
        host = session.host
        call.begun_at = self.now
        if session.stats is not None:
            session.stats.waited_s += self.now - call.asked_at
        process = self._add(session, call, 0.0)
        call.process = process
        session.calls[call.id] = call
        host.calls_running += 1
        self.control.limit(self, process)
        count(process)
        if process.go(call.program.legs):
            host.cores += process.cores
            self.replan(process)
        else:
            self._end(session, call)
        return True

    def _end(self, session: Session, call: LiveCall, killed_by: str | None = None) -> None:
        """A call is over: what waited for it may go on."""
        self._drop(session, call)
        self.control.ended(self, session, call, failed=killed_by is not None)
        if session.stats is not None:
            if killed_by is None:
                session.stats.calls_completed += 1
            else:
                session.stats.calls_killed += 1
                kills = session.stats.kills
                kills[killed_by] = kills.get(killed_by, 0) + 1
        session.open_calls -= 1
        for index, other in enumerate(session.now_turn.calls):
            if other.after == call.index:
                self._plan_call(session, index, other.start_s)
        if session.open_calls == 0:
            self._next_turn(session)
        self._retry(session.host)

    def _drop(self, session: Session, call: LiveCall) -> None:
        host = session.host
        if call.process is not None:
            self._remove(call.process)
            host.calls_running -= 1
        host.commit(call, 0.0)
        host.promise(call, 0.0)
        session.calls.pop(call.id, None)
        session.waiting.pop(call.id, None)
        host.waiting.pop(call.id, None)

    def _next_turn(self, session: Session) -> None:
        session.turn += 1
        if session.turn < len(session.program.turns):
            self._think(session)
        else:
            self._finish(session, killed=False)

    def _finish(self, session: Session, *, killed: bool) -> None:
        for call in [*session.calls.values(), *session.waiting.values()]:
            self._drop(session, call)
        if session.runtime is not None:
            self._remove(session.runtime)
            session.runtime = None
        session.host.commit(session, 0.0)
        if session.stats is not None:
            session.stats.killed = killed
            if not killed:
                session.stats.wall_s = self.now - session.begun_at
        session.stats = None
        self.harmed = self.harmed or killed
        self._push(self.now + (RESTART_S if killed else 0.0), Kind.START, session, 0)

    def _retry(self, host: Host, *, everybody: bool = False) -> None:
        """Ask again for those that wait, as the daemon does: in order, the next only when one goes
        ahead; once a second, everybody."""
        if not host.waiting:
            return
        order = sorted(host.waiting.values(), key=lambda one: self.control.order(self, one[1]))
        for session, call in order:
            if call.id not in host.waiting:
                continue
            if self._begin(session, call):
                session.waiting.pop(call.id, None)
                host.waiting.pop(call.id, None)
            elif not everybody:
                return

    # --- Memory runs out ---

    def kill(self, call: LiveCall, session: Session, by: str) -> None:
        """A call is killed; its agent goes on."""
        self.harmed = True
        self._end(session, call, by)

    def _check_pools(self, session: Session) -> None:
        self._check_full(session, session.host.pool)
        if session.pool is not None:
            self._check_full(session, session.pool)

    def _check_full(self, session: Session, pool: Pool) -> None:
        """If `pool` (of the session or of its host) has met its limit: out of memory."""
        while pool.total(self.now) >= pool.limit - EPSILON_BYTES:
            members = [session] if pool is session.pool else session.host.sessions
            adjusted = self.control.call_oom_score_adj
            chosen = victim(candidates(members, self.now, adjusted), pool.limit)
            if chosen is None:
                return
            if chosen.call is None:
                self._finish(chosen.session, killed=True)
            else:
                self.kill(chosen.call, chosen.session, "oom")

    # --- Looks ---

    def look_soon(self, host: Host) -> None:
        """Somebody is to be looked at: after the time that the daemon takes to be woken."""
        if not host.asked:
            host.asked = True
            host.look += 1
            self._push(self.now + WOKEN_S, Kind.LOOK, host, host.look)

    def _look(self, host: Host) -> None:
        since_s = self.now - host.looked_at
        host.looked_at = self.now
        host.note_stalls(since_s)
        host.look += 1
        for process in list(host.slowed):
            self.update(process)
        if host.pool.total(self.now) >= host.pool.limit - EPSILON_BYTES and host.sessions:
            self._check_full(host.sessions[0], host.pool)
        if host.crowded or host.cores > host.cpus:
            for process in host.share_cpu(self.now):
                self.replan(process)
        again_s = self.control.look(self, host)
        if self.now - host.retried_at >= RECHECK_S:
            host.retried_at = self.now
            self._retry(host, everybody=True)
        if host.crowded:
            again_s = min(again_s, CROWDED_LOOK_S)
        if host.playing and not host.asked:
            self._push(self.now + again_s, Kind.LOOK, host, host.look)
