# SPDX-License-Identifier: Apache-2.0
"""Simulated agents on a simulated host: what happens to whom, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcg.daemon.messages import Priority
from agentcg.daemon.simulate.controls import Control, Static
from agentcg.daemon.simulate.density import densest, provisioned
from agentcg.daemon.simulate.governor import Governed
from agentcg.daemon.simulate.kernel import SWAP_IN_BYTES_PER_S
from agentcg.daemon.simulate.outcome import Outcome
from agentcg.daemon.simulate.pool import Pool
from agentcg.daemon.simulate.program import CallProgram, Leg, Program, TurnProgram
from agentcg.daemon.simulate.scenario import Scenario, peak_bytes, play
from agentcg.daemon.simulate.session import Host, Session
from agentcg.daemon.simulate.views import session_view
from agentcg.daemon.simulate.world import World
from agentcg.policies import DEFAULT, Policy
from agentcg.policies.checker import parse

MIB = 1 << 20
ASKED_BACK = "version: 1\nidle: {reclaim: [high, normal, low], after: 1s}\n"
IDLE = Policy((parse(ASKED_BACK, "idle")[0], *DEFAULT.ordered), "test")


def call(*legs: tuple[float, int], start_s: float = 0.0, after: int | None = None) -> CallProgram:
    """A test call that goes to so many MiB in so many seconds, using half a core."""
    steps = tuple(Leg(seconds, mib * MIB, 0.5) for seconds, mib in legs)
    return CallProgram("Bash", "pytest", "test", start_s, after, steps)


def agent(base_mib: int, *calls: CallProgram, think_s: float = 10.0) -> Program:
    """An agent that thinks, runs `calls`, and thinks again."""
    still = (Leg(think_s, base_mib * MIB, 0.0),)
    ends: list[float] = []
    for one in calls:
        since_s = 0.0 if one.after is None else ends[one.after]
        ends.append(since_s + one.start_s + sum(leg.duration_s for leg in one.legs))
    turns = (TurnProgram(still, calls), TurnProgram(still, ()))
    return Program("a", base_mib * MIB, turns, 2 * think_s + max(ends, default=0.0))


def on_one_host(
    programs: Sequence[Program],
    limit_mib: int,
    control: Control,
    priorities: tuple[Priority, ...] = ("low",),
    cpus: float = 8.0,
    swap_mib: int = 0,
) -> Outcome:
    """All at once on one host, each once."""
    scenario = Scenario(
        agents=len(programs), memory_bytes=limit_mib * MIB, cpus=cpus, priorities=priorities,
        swap_bytes=swap_mib * MIB, hot=0.5,
    )  # fmt: skip
    return play(scenario, [[program] for program in programs], control)


def governed(policy: Policy, wait_s: float = 5.0) -> Governed:
    """The daemon, whose clients wait so long for room."""
    return Governed(policy, wait_s=wait_s)


def test_alone_everything_takes_as_long_as_planned() -> None:
    """10 s of thought, a call of 3 s with another one second behind it, 10 s of thought."""
    program = agent(100, call((3, 50)), call((1, 20), start_s=1, after=0))
    found = on_one_host([program], 1000, Control())
    assert found.simulated_s == pytest.approx(25.0)
    assert (found.all.calls_completed, found.all.slowdown.max) == (2, pytest.approx(1.0))


def test_the_peak_is_that_of_agent_and_calls_together() -> None:
    """100 MiB of the agent, and two calls at the same time with 50 and 20."""
    program = agent(100, call((3, 50)), call((3, 20)))
    assert peak_bytes(program) == pytest.approx(170 * MIB, abs=2)


def test_without_control_the_kernel_takes_an_agent() -> None:
    """The call grows, the agent is the largest process, and it goes with its calls."""
    found = on_one_host([agent(200, call((5, 150)))] * 2, 600, Control())
    assert found.all.agents_killed == 1
    assert found.all.runs_completed == 1


def test_a_static_part_that_is_too_small_kills_where_there_is_room() -> None:
    """One of two agents needs 350 of 1000 MiB, and half of 600 is not enough for it."""
    found = on_one_host([agent(200, call((5, 150))), agent(100)], 600, Static())
    assert found.all.agents_killed == 1


def test_agentcg_takes_the_call_and_not_its_agent() -> None:
    """Nothing gentler is left where one call alone outgrows the host."""
    found = on_one_host([agent(200, call((5, 900)))], 600, governed(DEFAULT, wait_s=0.0))
    assert (found.all.agents_killed, found.all.calls_killed) == (0, 1)
    assert found.all.runs_completed == 1


def test_a_call_grows_past_what_it_was_granted_once_there_is_room() -> None:
    """Half of the host is granted; it takes more when a call of lower priority has made way."""
    hungry, other = agent(20, call((4, 800))), agent(20, call((1, 450), (5, 450)))
    found = on_one_host([hungry, other], 1200, Governed(DEFAULT, wait_s=0.0), ("high", "low"))
    assert found.by_priority["low"].calls_killed_by == {"ladder": 1}
    assert found.by_priority["high"].slowdown.max == pytest.approx(1.0, abs=0.1)


def test_agentcg_lets_calls_wait_for_room() -> None:
    """Four calls of 200 MiB do not fit beside each other; one after the other they do."""
    programs = [agent(100, call((5, 200), (5, 200)))] * 4
    found = on_one_host(programs, 1000, governed(DEFAULT, wait_s=60.0))
    assert (found.all.agents_killed, found.all.calls_killed) == (0, 0)
    assert found.all.waited_s > 0
    assert on_one_host(programs, 1000, Control()).all.calls_killed == 2


def test_agents_that_wait_make_room_where_there_is_swap() -> None:
    """Two agents of 400 MiB wait a minute and then need 150 more each, in 1000 MiB: half of what
    they hold stays in zram, compressed 2:1. For the other half, 200 MiB, each waits on its way."""
    programs = [agent(400, call((5, 150)), think_s=60.0)] * 2
    found = on_one_host(programs, 1000, governed(IDLE, wait_s=0.0), swap_mib=1000)
    assert (found.all.agents_killed, found.all.calls_killed) == (0, 0)
    back_s = (200 - 16) * MIB / SWAP_IN_BYTES_PER_S
    assert found.simulated_s == pytest.approx(125 + back_s, abs=0.1)
    for policy, swap_mib in ((IDLE, 0), (DEFAULT, 1000)):
        harmed = on_one_host(programs, 1000, governed(policy, wait_s=0.0), swap_mib=swap_mib)
        assert harmed.all.calls_killed > 0


def test_too_few_processors_slow_all_down() -> None:
    """Two calls of half a core each on half a core take twice as long."""
    programs = [agent(100, call((4, 10), (20, 10)), think_s=1.0)] * 2
    found = on_one_host(programs, 1000, Control(), cpus=0.5)
    assert found.all.slowdown.p50 == pytest.approx((2 + 48) / 26, rel=0.05)


def test_density_is_where_somebody_would_be_killed() -> None:
    """Agents of 100 MiB that never call: ten of them fill 1050 MiB."""
    scenario = Scenario(agents=0, memory_bytes=1050 * MIB, cpus=8, until_s=60.0)
    programs = [agent(100)]
    assert densest(scenario, programs, Control, 20).agents == 10
    assert provisioned(scenario, programs, 20).agents == 10


programs = st.builds(
    lambda base, thoughts, calls: agent(base, *calls, think_s=thoughts),
    st.integers(10, 300),
    st.floats(0.1, 20),
    st.lists(
        st.builds(
            lambda legs, start_s: call(*legs, start_s=start_s),
            st.lists(st.tuples(st.floats(0.1, 20), st.integers(0, 400)), min_size=1, max_size=4),
            st.floats(0, 5),
        ),
        max_size=3,
    ),
)
casts = st.lists(st.tuples(programs, st.sampled_from(["high", "normal", "low"])), max_size=6)
controls = st.sampled_from([Control, Static, lambda: governed(DEFAULT), lambda: governed(IDLE)])


@settings(max_examples=60, deadline=None)
@given(cast=casts, limit_mib=st.integers(100, 2000), make=controls)
def test_memory_is_conserved(cast, limit_mib, make) -> None:  # type: ignore[no-untyped-def]
    """Whatever happens, what the host counts is what processes hold, and at the end nothing."""
    host = Host("h", 2.0, Pool(limit_mib * MIB), swap_bytes=1000 * MIB, hot=0.3)
    for number, (program, priority) in enumerate(cast):
        host.sessions.append(Session(f"s{number}", priority, host, [program]))
    checked = _Checked([host], make())
    checked.run({})
    assert abs(host.pool.total(checked.now)) < MIB / 1024
    assert abs(host.cores) < 1e-6
    assert (host.committed_bytes, host.calls_running) == (pytest.approx(0, abs=1), 0)
    assert host.swapped_bytes == pytest.approx(0, abs=1)


class _Checked(World):
    """Compares the sum with its parts after each step of a process."""

    def _step(self, process) -> None:  # type: ignore[no-untyped-def]
        super()._step(process)
        for host in self.hosts:
            parts = [p for session in host.sessions for p in session.processes]
            held = sum(p.charged + p.rate * (self.now - p.at) for p in parts)
            assert abs(held - host.pool.total(self.now)) < 1024
            assert all(p.level >= p.swapped - 1 >= -2 for p in parts)
            assert host.swapped_bytes == pytest.approx(sum(p.swapped for p in parts), abs=1024)


@settings(max_examples=30, deadline=None)
@given(cast=casts, limit_mib=st.integers(100, 2000), make=controls)
def test_every_run_and_call_is_accounted_for(cast, limit_mib, make) -> None:  # type: ignore[no-untyped-def]
    """Runs end or are killed; no more calls end than were planned; the same again is the same."""
    scenario = Scenario(agents=len(cast), memory_bytes=limit_mib * MIB, cpus=2.0)
    found = play(scenario, [[program] for program, _ in cast], make())
    assert found.all.runs == found.all.runs_completed + found.all.agents_killed == len(cast)
    assert found.all.calls_completed + found.all.calls_killed <= found.all.calls_planned
    assert found == play(replace(scenario), [[program] for program, _ in cast], make())


def test_the_engine_sees_the_bounds_of_the_policy() -> None:
    """A session of the simulation may have no more calls and memory than a real one."""
    session: Any = SimpleNamespace(name="s", priority="low", calls={}, runtime=None, history=None)
    rule: Any = SimpleNamespace(memory_max=512 << 20, max_calls=2)
    view = session_view(session, rule)
    assert (view.max_calls, view.memory_max_bytes) == (2, 512 << 20)
