# SPDX-License-Identifier: Apache-2.0
"""`agentcg` in the simulator: the daemon's engine decides, and the model carries it out.

Only what the service does between kernel and engine is done here again: views are filled from
simulated processes (`views`), leases and actions become limits and states of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from msgspec import structs

from agentcg.daemon.engine import Admit, CallRequest, Wait, grant, occupancy, widen
from agentcg.daemon.engine.forecast import Pools, Sample, forecast, pool, pooled, samples
from agentcg.daemon.engine.history import EMPTY, Outcome, learn
from agentcg.daemon.engine.ladder import decide, is_relaxed
from agentcg.daemon.engine.ladder_model import Action, Load, State
from agentcg.daemon.engine.leases import (
    backstop_bytes,
    first_lease,
    known_need_bytes,
    longer_lease,
)
from agentcg.daemon.engine.queue import Standing
from agentcg.daemon.engine.tuning import tuning_of
from agentcg.daemon.simulate import views
from agentcg.daemon.simulate.controls import NEXT_LOOK_S, Control
from agentcg.daemon.simulate.idle import Windows, swap_out
from agentcg.daemon.simulate.pool import Pool
from agentcg.daemon.simulate.process import Process
from agentcg.daemon.simulate.session import Host, LiveCall, Session, count
from agentcg.daemon.simulate.world import World
from agentcg.policies import CallFacts, Policy, SessionFacts, SessionRule

OOM_SCORE_ADJ = 500  # as `agentcg run` gives its command
Stopwatch = Callable[[], float]


@dataclass(slots=True)
class Cost:
    """Time that decisions took; what is measured, not simulated."""

    grants: int = 0
    grants_s: float = 0.0
    looks: int = 0  # of them those that had to look at calls
    looks_s: float = 0.0
    looks_calls: int = 0
    looks_sessions: int = 0


class Governed(Control):
    """Hosts under the daemon."""

    name = "agentcg"
    call_oom_score_adj = OOM_SCORE_ADJ

    def __init__(
        self, policy: Policy, *, wait_s: float, stopwatch: Stopwatch | None = None
    ) -> None:
        self._policy = policy
        self._wait_s = wait_s
        self._tuning = tuning_of(policy.ladder)
        self._enabled = policy.ladder.enabled
        self._stopwatch = stopwatch or (lambda: 0.0)
        self._states: dict[str, State] = {}
        self._sessions: dict[str, Session] = {}
        self._rules: dict[str, SessionRule] = {}
        self._pools: Pools = {}
        self._windows = Windows(policy.idle)
        self.cost = Cost()

    def prepare(self, host: Host) -> None:
        """See `Control`."""
        bound = int(host.pool.limit)
        for session in host.sessions:
            rule = self._policy.session(
                SessionFacts(session.name, 0, bound, asked_priority=session.priority)
            )
            session.priority, session.cpu_weight = rule.priority, rule.cpu_weight
            if rule.memory_max is not None and rule.memory_max < bound:
                session.pool = Pool(rule.memory_max)
            self._rules[session.name] = rule
            self._sessions[session.name] = session

    # --- Begin and end ---

    def began(self, session: Session) -> None:
        """See `Control`."""
        session.history, session.peak_bytes = EMPTY, 0.0
        self._windows.forget(session)

    def admit(self, world: World, session: Session, call: LiveCall) -> bool:
        """See `Control`. A call that is refused runs without a grant, as clients have it."""
        program, now = call.program, world.now
        if call.forecast is None:
            self._foresee(session, call)
        assert call.forecast is not None  # noqa: S101
        request = CallRequest(
            program.tool, program.command, program.category,
            expected=occupancy.occupant(call.forecast),
            wait_s=self._wait_s, waited_s=now - call.asked_at,
        )  # fmt: skip
        before = views.ahead_bytes(session, call, now, self._policy.admission.overtake_max_s)
        host = views.host_view(session.host, self._policy, before)
        view = views.session_view(session, self._rules[session.name])
        began = self._stopwatch()
        decision = grant(self._policy, host, view, request, (), now)
        if isinstance(decision, Wait) and self._policy.admission.by == "future":
            ahead, needs = views.ahead(session.host, now)
            host = structs.replace(host, ahead=ahead, needs_bytes=needs)
            decision = grant(self._policy, host, view, request, (), now)
        self.cost.grants_s += self._stopwatch() - began
        self.cost.grants += 1
        if isinstance(decision, Wait):
            call.waits_for_bytes = decision.holds_bytes
            return False
        call.grant = decision.grant if isinstance(decision, Admit) else None
        return True

    def _foresee(self, session: Session, call: LiveCall) -> None:
        program = call.program
        whole = int(session.host.pool.limit)
        facts = CallFacts(program.tool, program.command, program.category, session.priority, whole)
        call.forecast = forecast(
            samples(session.history.of(program.tool, program.category)),
            pooled(self._pools, None, program.category),
            self._policy.call(facts).memory,
        )
        area = occupancy.area(occupancy.occupant(call.forecast))
        call.standing = Standing(session.priority, int(call.id), call.asked_at, area)

    def order(self, world: World, call: LiveCall) -> tuple[float, ...]:
        """See `Control`."""
        return views.order(call, world.now, self._policy.admission.overtake_max_s)

    def limit(self, world: World, process: Process) -> None:
        """See `Control`."""
        call, session = process.call, process.session
        if call is None or call.grant is None:
            return
        process.high = call.grant.memory_high_bytes
        process.max = call.grant.memory_max_bytes
        if self._enabled:
            load = self._load(world, session.host)
            most, need = call.grant.memory_high_bytes, known_need_bytes(call.grant)
            lease = first_lease(load, session.priority, most, self._tuning, need)
            self._lease(process, call, lease or self._tuning.lease_least_bytes)
            if not lease:
                world.freeze(process, True)
                world.look_soon(session.host)

    @staticmethod
    def _lease(process: Process, call: LiveCall, lease_bytes: int) -> None:
        call.lease_bytes = lease_bytes
        most = None if call.grant is None else call.grant.memory_max_bytes
        process.high = lease_bytes
        process.max = backstop_bytes(lease_bytes, most)

    def _lengthen(self, world: World, process: Process, call: LiveCall, lease_bytes: int) -> None:
        process.settle(world.now)
        self._lease(process, call, lease_bytes)
        if call.grant is not None and lease_bytes > (call.grant.memory_high_bytes or lease_bytes):
            call.grant = structs.replace(call.grant, memory_high_bytes=lease_bytes)
        call.met = call.met and process.meets_high
        count(process)
        world.replan(process)

    def ended(self, world: World, session: Session, call: LiveCall, *, failed: bool) -> None:
        """See `Control`."""
        peak = 0 if call.process is None else int(call.process.peak)
        program = call.program
        wall_s = world.now - call.begun_at
        outcome = Outcome(program.tool, program.category, peak, failed, wall_s=wall_s)
        if not failed:
            self._pools = pool(self._pools, None, program.category, Sample(wall_s, peak))
        session.history = learn(session.history, outcome, world.now)
        state = self._states.get(session.host.name)
        if state is not None and not state.at_rest:
            world.look_soon(session.host)

    # --- A lease is met ---

    def met_high(self, world: World, process: Process) -> None:
        """See `Control`. With plenty of room a call gets more at once; else the ladder is asked."""
        call = process.call
        if call is None:
            world.look_soon(process.session.host)
            return
        if call.grant is None:
            return
        if call.lease_bytes is None:
            self._widen(world, process, call)
            return
        if not call.throttled and self._extend(world, process, call):
            return
        call.met = True
        world.look_soon(process.session.host)

    def _extend(self, world: World, process: Process, call: LiveCall) -> bool:
        session = process.session
        load = self._load(world, session.host)
        lease = longer_lease(load, session.priority, views.call_load(call), self._tuning)
        if lease is None or lease <= (call.lease_bytes or 0):
            return False
        self._lengthen(world, process, call, lease)
        return True

    def _widen(self, world: World, process: Process, call: LiveCall) -> bool:
        session = process.session
        wider = widen(
            views.host_view(session.host, self._policy, 0),
            views.session_view(session, self._rules[session.name]),
            views.call_view(call),
        )
        if wider is None:
            return False
        call.grant = wider
        if call.lease_bytes is None:
            process.high = wider.memory_high_bytes
            world.update(process)
        return True

    # --- Looks ---

    def look(self, world: World, host: Host) -> float:
        """See `Control`."""
        next_s = self._windows.look(host, world.now)
        return min(next_s, self._look_at_pressure(world, host))

    def _look_at_pressure(self, world: World, host: Host) -> float:
        asked, host.asked = host.asked, False
        if not self._enabled:
            return NEXT_LOOK_S
        state = self._states.get(host.name, State())
        load = self._load(world, host)
        if asked or not is_relaxed(load, state, self._tuning):
            sessions = views.loads(host, world, self._rules)
            load = replace(load, sessions=sessions, promised_bytes=int(host.promised_bytes))
        began = self._stopwatch()
        verdict = decide(load, state, world.now, self._tuning)
        if load.sessions:
            self._note_cost(load, self._stopwatch() - began)
        self._states[host.name] = verdict.state
        self._let_grow(world, host, verdict.leases)
        self._bound_agents(world, verdict.agent_leases)
        for action in verdict.actions:
            self._carry_out(world, action)
        return NEXT_LOOK_S if verdict.look_in_s is None else min(verdict.look_in_s, NEXT_LOOK_S)

    def _note_cost(self, load: Load, seconds: float) -> None:
        self.cost.looks += 1
        self.cost.looks_s += seconds
        self.cost.looks_sessions += len(load.sessions)
        self.cost.looks_calls += sum(len(session.calls) for session in load.sessions)

    def _let_grow(self, world: World, host: Host, leases: Mapping[str, int]) -> None:
        if not leases:
            return
        for session in host.sessions:
            for call in session.calls.values():
                if call.id in leases and call.process is not None:
                    shorter = leases[call.id] < (call.lease_bytes or 0)
                    self._lengthen(world, call.process, call, leases[call.id])
                    if shorter:  # for those who wait for what it gives back
                        world.look_soon(host)

    def _bound_agents(self, world: World, leases: Mapping[str, int | None]) -> None:
        for name, lease_bytes in leases.items():
            runtime = self._sessions[name].runtime
            if runtime is not None:
                runtime.settle(world.now)
                runtime.high = None if lease_bytes is None else lease_bytes + runtime.swapped
                world.replan(runtime)

    def _carry_out(self, world: World, action: Action) -> None:
        session = self._sessions[action.session]
        if action.kind == "reclaim" and action.call is None:
            swap_out(session, action.size_bytes or 0, world.now)
            return
        call = None if action.call is None else session.calls.get(action.call)
        process = None if call is None else call.process
        if call is None or process is None:
            return  # protect; and of a paused call nothing is reclaimed
        if action.kind == "throttle":
            call.throttled = True
            self._lengthen(world, process, call, action.size_bytes or 0)
        elif action.kind == "unthrottle":
            call.throttled = False
        elif action.kind in ("freeze", "thaw"):
            world.freeze(process, action.kind == "freeze")
        elif action.kind == "kill":
            world.kill(call, session, "ladder")

    @staticmethod
    def _load(world: World, host: Host) -> Load:
        total = int(host.pool.total(world.now))
        return Load(
            int(host.pool.limit), total, total, host.stall_percent,
            swap_free_bytes=int(host.swap_free_bytes), promised_bytes=int(host.promised_bytes),
        )  # fmt: skip
