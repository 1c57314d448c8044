# SPDX-License-Identifier: Apache-2.0
"""Nobody gets all sessions together to their bound: calls that take whatever their ceilings let
them at the worst moments, agents that take all that is kept for them between any two looks.

The machine does what the service does between engine and kernel: ceilings are made longer at once
and shorter some time later, what is held is known as of the last look, a paused call runs on for a
moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agentcg.daemon.engine.ladder import decide
from agentcg.daemon.engine.ladder_level import last_part_bytes
from agentcg.daemon.engine.ladder_model import TUNING, CallLoad, Load, SessionLoad, State
from agentcg.daemon.engine.leases import backstop_bytes, first_lease, longer_lease
from agentcg.daemon.messages import Priority

MIB = 1 << 20
BOUND = 1000 * MIB
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
WHICH = st.integers(0, 30)
PARTS = st.sampled_from([0.0, 0.1, 0.5, 1.0])


@dataclass
class Running:
    """A call as the kernel has it, and as it was looked at last."""

    session: int
    begun_at: float
    processes: int
    lease: int
    ceiling: int  # in force
    held: int = 0
    seen: int = 0
    met: bool = False
    paused: bool = False
    still: bool = False


class Storm(RuleBasedStateMachine):
    """Three sessions, any number of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.number = 0
        self.state = State()
        self.agents = [50 * MIB, 50 * MIB, 50 * MIB]
        self.seen_agents = list(self.agents)
        self.allowance = last_part_bytes(Load(BOUND, 0, 0), TUNING)
        self.calls: dict[str, Running] = {}

    # --- What the service knows ---

    def held(self) -> int:
        return sum(self.agents) + sum(call.held for call in self.calls.values())

    def load(self) -> Load:
        """The root as it is, calls as of the last look."""
        views = {id: self.view(id) for id in self.calls}
        promised = sum(view.unused_bytes for view in views.values())
        reach = sum(self.seen_agents) + promised + sum(c.seen for c in self.calls.values())
        return Load(BOUND, self.held(), self.held(), 0.0, 0, (), promised, reach)

    def sessions(self) -> tuple[SessionLoad, ...]:
        return tuple(
            SessionLoad(
                priority, priority, runtime_held_bytes=self.seen_agents[number],
                calls=tuple(self.view(id) for id, c in self.calls.items() if c.session == number),
            )
            for number, priority in enumerate(PRIORITIES)
        )  # fmt: skip

    def view(self, name: str) -> CallLoad:
        call = self.calls[name]
        return CallLoad(
            name, call.begun_at, True, call.seen, 64 * MIB, None, 1, call.lease, call.met,
            call.ceiling, call.still, call.processes,
        )  # fmt: skip

    def call(self, which: int) -> tuple[str, Running] | None:
        names = list(self.calls)
        return (names[which % len(names)], self.calls[names[which % len(names)]]) if names else None

    # --- What calls and agents do ---

    @rule(
        session=st.integers(0, 2),
        processes=st.sampled_from([1, 1, 4, 300]),
        need=st.sampled_from([0, 0, 100 * MIB, 1 << 50]),
    )
    def begin(self, session: int, processes: int, need: int) -> None:
        lease = first_lease(self.load(), PRIORITIES[session], None, TUNING, need)
        paused, lease = not lease, lease or TUNING.lease_least_bytes
        self.number += 1
        self.calls[f"c{self.number}"] = Running(
            session, self.now, processes, lease, backstop_bytes(lease, None),
            met=paused, paused=paused, still=paused,
        )  # fmt: skip

    @rule(which=WHICH, part=PARTS, told=st.booleans())
    def grow(self, which: int, part: float, told: bool) -> None:
        """Beyond its lease the kernel tells, sooner or later."""
        found = self.call(which)
        if found is None or found[1].still:
            return
        name, call = found
        call.held += int((call.ceiling - call.held) * part)
        if call.held < call.lease or not told or call.paused:
            return
        call.seen = call.held
        lease = longer_lease(self.load(), PRIORITIES[call.session], self.view(name), TUNING)
        if lease is None or lease <= call.lease:
            call.met = True
            self.look()
        else:
            self.lend(call, lease)

    @rule(which=WHICH, part=PARTS)
    def shrink(self, which: int, part: float) -> None:
        """Nobody is told of that."""
        found = self.call(which)
        if found is not None:
            found[1].held -= int(found[1].held * part)

    @rule(which=WHICH)
    def end(self, which: int) -> None:
        found = self.call(which)
        if found is not None:
            del self.calls[found[0]]

    @rule(session=st.integers(0, 2), part=PARTS)
    def agent_grows(self, session: int, part: float) -> None:
        size = int(self.allowance * part)
        self.agents[session] += size
        self.allowance -= size

    @rule(session=st.integers(0, 2), part=PARTS)
    def agent_shrinks(self, session: int, part: float) -> None:
        self.agents[session] -= int(self.agents[session] * part)

    # --- What the daemon does ---

    def lend(self, call: Running, lease: int) -> None:
        call.lease = lease
        call.ceiling = max(call.ceiling, backstop_bytes(lease, None, call.processes))
        call.met = False

    @rule()
    def kernel_has_it(self) -> None:
        """Shorter leases are in force, and paused calls are still."""
        for call in self.calls.values():
            most = backstop_bytes(call.lease, None, call.processes)
            call.ceiling = min(call.ceiling, max(most, call.held + 8 * MIB))
            call.still = call.paused

    @rule(seconds=st.sampled_from([0.1, 0.6, 2.0, 10.0, 130.0]))
    def later(self, seconds: float) -> None:
        self.now += seconds
        self.look()

    def look(self) -> None:
        for call in self.calls.values():
            call.seen = call.held
        self.seen_agents = list(self.agents)
        load = replace(self.load(), sessions=self.sessions())
        verdict = decide(load, self.state, self.now)
        self.state = verdict.state
        for name, lease in sorted(verdict.leases.items(), key=lambda item: item[1]):
            if lease > self.calls[name].lease:
                self.lend(self.calls[name], lease)
            else:
                self.calls[name].lease = lease
        for action in verdict.actions:
            if action.call is None:
                continue
            call = self.calls[action.call]
            if action.kind == "throttle":
                call.lease = action.size_bytes or 0
            elif action.kind == "freeze":
                call.paused = True
            elif action.kind == "thaw":
                call.paused = call.still = False
            elif action.kind == "kill":
                del self.calls[action.call]
        self.allowance = max(min(self.load().free_bytes, last_part_bytes(load, TUNING)), 0)
        self.is_on_its_way_back()

    def is_on_its_way_back(self) -> None:
        """Once the kernel has it, agents may take their part again, if nothing else is left to
        be taken back: all that may be paused but one call are, and have nothing more to take."""
        runs = [c for c in self.calls.values() if not c.paused]
        most = [min(c.ceiling, backstop_bytes(c.lease, None, c.processes)) for c in runs]
        reach = sum(max(size, c.held) for size, c in zip(most, runs, strict=True))
        reach += sum(c.held for c in self.calls.values() if c.paused)
        free = BOUND - sum(self.agents) - reach
        may_grow = [c for size, c in zip(most, runs, strict=True) if c.session and size > c.held]
        assert free >= last_part_bytes(Load(BOUND, 0, 0), TUNING) or len(may_grow) <= 1

    @invariant()
    def bound_is_not_reached(self) -> None:
        """Nor could it be by what calls can take from here on."""
        assert self.held() <= BOUND
        reach = sum(call.held if call.still else max(call.ceiling, call.held)
                    for call in self.calls.values())  # fmt: skip
        assert sum(self.agents) + reach + self.allowance <= BOUND


Storm.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
test_bound_over_all_sessions_is_never_reached = Storm.TestCase
