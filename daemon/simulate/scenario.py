# SPDX-License-Identifier: Apache-2.0
"""Who plays what, where and when: hosts with sessions, from a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from agentcg.daemon.messages import Priority
from agentcg.daemon.simulate.controls import Control
from agentcg.daemon.simulate.outcome import Outcome, outcome
from agentcg.daemon.simulate.pool import Pool
from agentcg.daemon.simulate.program import Program
from agentcg.daemon.simulate.session import Host, Session
from agentcg.daemon.simulate.world import World

ControlMaker = Callable[[], Control]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Everything besides the programs and the control.

    Agents are spread over the hosts in turn; on each host priorities follow `priorities`, again
    and again. Starts are spread evenly at random over `stagger_s`. `until_s`: agents play on,
    one program after another, so long; else each plays one.
    """

    agents: int
    memory_bytes: int  # of each host, for all its sessions
    hosts: int = 1
    cpus: float = 1.0  # of each host
    priorities: tuple[Priority, ...] = ("high", "low", "low", "low")
    stagger_s: float = 0.0
    until_s: float | None = None
    swap_bytes: int = 0  # of each host, on zram
    hot: float = 0.25  # share of its memory that an agent needs to begin calls
    seed: int = 0


def casting(scenario: Scenario, programs: Sequence[Program]) -> list[list[Program]]:
    """What each agent plays. An agent plays the same, however many others there are."""
    order = list(programs)
    random.Random(f"{scenario.seed}/order").shuffle(order)  # noqa: S311 - to repeat, not to hide
    cast: list[list[Program]] = []
    for number in range(scenario.agents):
        if scenario.until_s is None:
            cast.append([order[number % len(order)]])
            continue
        drawn = random.Random(f"{scenario.seed}/{number}")  # noqa: S311
        length_s, playlist = 0.0, []
        while length_s < scenario.until_s:
            playlist.append(drawn.choice(order))
            length_s += playlist[-1].duration_s
        cast.append(playlist)
    return cast


def play(
    scenario: Scenario,
    cast: Sequence[Sequence[Program]],
    control: Control,
    *,
    while_unharmed: bool = False,
) -> Outcome:
    """Simulate `cast` (`casting`) under `control`; `while_unharmed`: until somebody is killed."""
    hosts = [
        Host(
            f"host-{number}", scenario.cpus, Pool(float(scenario.memory_bytes)),
            swap_bytes=scenario.swap_bytes, hot=scenario.hot,
        )
        for number in range(scenario.hosts)
    ]  # fmt: skip
    starts = random.Random(f"{scenario.seed}/starts")  # noqa: S311
    delays: dict[str, float] = {}
    for number, playlist in enumerate(cast):
        host = hosts[number % len(hosts)]
        priority = scenario.priorities[len(host.sessions) % len(scenario.priorities)]
        session = Session(f"agent-{number}", priority, host, playlist)
        host.sessions.append(session)
        delays[session.name] = starts.uniform(0.0, scenario.stagger_s)
    world = World(hosts, control, inf if scenario.until_s is None else scenario.until_s)
    world.run(delays, while_unharmed=while_unharmed)
    return outcome(scenario.agents, control.name, world)


def peak_bytes(program: Program) -> int:
    """The most that `program` holds when nothing holds it up."""
    host = Host("alone", 64.0, Pool())
    host.sessions.append(Session("alone", "normal", host, [program]))
    World([host], Control()).run({})
    return int(host.pool.peak)
