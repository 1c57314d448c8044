# SPDX-License-Identifier: Apache-2.0
"""`agentcg simulate`: thousands of agents on simulated hosts, under the daemon's own decisions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast, get_args

import msgspec
import typer
from rich.console import Console

import agentcg
from agentcg.daemon.messages import Priority
from agentcg.daemon.replay.options import Names, Place, option
from agentcg.daemon.replay.plan import Shape, build
from agentcg.daemon.simulate import report as shown
from agentcg.daemon.simulate.controls import Control, Static
from agentcg.daemon.simulate.density import Density, densest, most_agents, provisioned
from agentcg.daemon.simulate.governor import Cost, Governed
from agentcg.daemon.simulate.outcome import Outcome
from agentcg.daemon.simulate.program import Program, program
from agentcg.daemon.simulate.scenario import Scenario, casting, play
from agentcg.daemon.simulate.sources import read
from agentcg.errors import InvalidInput
from agentcg.policies import DEFAULT, Policy, load
from agentcg.units import parse_duration, parse_size

AGENTS_MAX = 100_000
MEMORY_MIN_BYTES = 64 << 20
GIB_PER_CPU = 2
CONTROLS = ("none", "static", "agentcg")

_Number = float | None


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """What one simulation cost: measured, so different each time."""

    control: str
    agents: int
    seconds: float
    decisions: dict[str, float] | None  # of the engine; None without it


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` writes. All but `timings` is the same for the same input."""

    format: int
    agentcg: str
    settings: dict[str, object]
    curve: list[Outcome]
    density: list[Density]
    timings: list[Timing]


def simulate(
    *,
    traces: Annotated[Names, option("What agents play.", "DIR|TRACE")] = None,
    agents: Annotated[list[int] | None, option("How many; each is a point.", "N")] = None,
    memory: Annotated[str, option("Of each host, for its agents.", "SIZE")] = "64G",
    hosts: Annotated[int, option("How many hosts.", min=1, max=AGENTS_MAX)] = 1,
    cpus: Annotated[_Number, option("Of each host; else one for each 2G.", min=0.1)] = None,
    policy: Annotated[Place, option("Policy file or directory.", "FILE")] = None,
    control: Annotated[Names, option("none, static, agentcg; else all.", "NAME")] = None,
    priorities: Annotated[str, option("In turn, on each host.")] = "high:1,low:3",
    wait: Annotated[float, option("Seconds a call may wait for room.", min=0, max=600)] = 30.0,
    stagger: Annotated[str, option("Agents start at random within.", "TIME")] = "300s",
    until: Annotated[
        str | None,
        option("Agents play one trace after another for so long; else one each.", "TIME"),
    ] = None,
    density: Annotated[
        bool, typer.Option("--density", help="Also find how many agents a host carries.")
    ] = False,
    seed: Annotated[int, option("Decides who plays what and starts when.")] = 0,
    base_extra: Annotated[str, option("On top of each recorded base.", "SIZE")] = "0",
    swap: Annotated[str, option("Of each host, on zram.", "SIZE")] = "0",
    hot: Annotated[
        float, option("Share of its memory that an agent needs to go on.", min=0, max=1)
    ] = 0.25,
    json: Annotated[Place, option("Write all results here.", "OUT")] = None,
) -> None:
    """Play recorded agent work in simulated time, decided by the daemon's own engine.

    No daemon and no privileges are needed. TRACE is a file or gen:SEED; DIR stands for all
    traces in it. What the model says and leaves out: docs/benchmarks.md.

    Exit codes: 0; 1 a trace cannot be read; 2 wrong options.
    """
    memory_bytes = _size(memory, "memory", MEMORY_MIN_BYTES)
    scenario = Scenario(
        agents=0,
        memory_bytes=memory_bytes,
        hosts=hosts,
        cpus=cpus or max(1.0, memory_bytes / (GIB_PER_CPU << 30)),
        priorities=_priorities(priorities),
        stagger_s=parse_duration(stagger, "stagger"),
        until_s=None if until is None else parse_duration(until, "until"),
        seed=seed,
        swap_bytes=_size(swap, "swap", 0),
        hot=hot,
    )
    points = sorted(set(agents or [100]))
    if not 1 <= points[0] <= points[-1] <= AGENTS_MAX:
        raise InvalidInput("agents", points, f"1 to {AGENTS_MAX}")
    if json is not None and not json.parent.is_dir():
        raise InvalidInput("json", str(json), "a file in a directory that exists")
    shape = Shape(base_extra_bytes=_size(base_extra, "base-extra", 0))
    programs = [program(build(trace, shape)) for trace in read(traces or [])]
    makers = _makers(_controls(control), _policy(policy), wait)
    work = _Work(programs, scenario, makers)
    for point in points:
        work.point(point)
    if density:
        work.find_density()
    settings: dict[str, object] = {
        **{field: getattr(scenario, field) for field in Scenario.__dataclass_fields__},
        "agents": points, "wait_s": wait, "traces": [p.name for p in programs],
        "policy": str(policy or "built-in default"), "base_extra_bytes": shape.base_extra_bytes,
    }  # fmt: skip
    report = Report(
        format=1, agentcg=agentcg.__version__, settings=settings,
        curve=work.curve, density=work.density, timings=work.timings,
    )  # fmt: skip
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    _print(report, memory, hosts)


class _Work:
    """Simulations under each control, with the time that they take."""

    def __init__(
        self, programs: Sequence[Program], scenario: Scenario,
        makers: dict[str, Callable[[], Control]],
    ) -> None:  # fmt: skip
        self._programs = programs
        self._scenario = scenario
        self._makers = makers
        self.curve: list[Outcome] = []
        self.density: list[Density] = []
        self.timings: list[Timing] = []

    def point(self, agents: int) -> None:
        """So many agents under each control."""
        scenario = replace(self._scenario, agents=agents)
        cast_ = casting(scenario, self._programs)
        for name, make in self._makers.items():
            control = make()
            began = time.perf_counter()
            self.curve.append(play(scenario, cast_, control))
            seconds = time.perf_counter() - began
            cost = _decisions(control.cost) if isinstance(control, Governed) else None
            self.timings.append(
                Timing(control=name, agents=agents, seconds=seconds, decisions=cost)
            )

    def find_density(self) -> None:
        """How many agents one host carries under each control."""
        most = most_agents(self._scenario, self._programs)
        for name, make in self._makers.items():
            self.density.append(
                provisioned(self._scenario, self._programs, most)
                if name == "static"
                else densest(self._scenario, self._programs, make, most)
            )


def _decisions(cost: Cost) -> dict[str, float]:
    """Microseconds of the engine's decisions, and how large they were."""
    walked = max(cost.looks_sessions + cost.looks_calls, 1)
    return {
        "grants": cost.grants,
        "grant_us": 1e6 * cost.grants_s / max(cost.grants, 1),
        "pressed_looks": cost.looks,
        "pressed_look_us": 1e6 * cost.looks_s / max(cost.looks, 1),
        "sessions_and_calls_a_look": walked / max(cost.looks, 1),
        "us_per_session_or_call": 1e6 * cost.looks_s / walked,
    }


def _makers(
    names: Sequence[str], policy: Policy, wait_s: float
) -> dict[str, Callable[[], Control]]:
    makers: dict[str, Callable[[], Control]] = {
        "none": Control,
        "static": Static,
        "agentcg": lambda: Governed(policy, wait_s=wait_s, stopwatch=time.perf_counter),
    }
    return {name: makers[name] for name in names}


def _controls(names: Sequence[str] | None) -> Sequence[str]:
    for name in names or ():
        if name not in CONTROLS:
            raise InvalidInput("control", name, "none, static or agentcg")
    return tuple(dict.fromkeys(names or CONTROLS))


def _policy(path: Path | None) -> Policy:
    return DEFAULT if path is None else load(path)


def _priorities(text: str) -> tuple[Priority, ...]:
    """`high:1,low:3` as a pattern."""
    pattern: list[Priority] = []
    for part in text.split(","):
        name, _, count = part.strip().partition(":")
        if name not in get_args(Priority) or not (count or "1").isdecimal():
            raise InvalidInput("priorities", text, "like high:1,normal:2,low:3")
        pattern += [cast(Priority, name)] * min(int(count or 1), 1000)
    if not pattern:
        raise InvalidInput("priorities", text, "at least one session")
    return tuple(pattern)


def _size(text: str, field: str, lowest: int) -> int:
    size_bytes = parse_size(text, field)
    if size_bytes < lowest:
        raise InvalidInput(field, text, f"at least {lowest >> 20}M")
    return size_bytes


def _print(report: Report, memory: str, hosts: int) -> None:
    console = Console()
    where = f"{hosts} hosts of {memory}" if hosts > 1 else f"one host of {memory}"
    console.print(shown.outcomes(report.curve, f"{where}, simulated"))
    if report.density:
        title = "\nagents that one host carries: none killed, no call killed, mean slowdown 5%"
        console.print(shown.densities(report.density, title))
    for timing in report.timings:
        if timing.decisions and timing.decisions["pressed_looks"]:
            found = timing.decisions
            console.print(
                f"{timing.agents} agents: a look under pressure takes"
                f" {found['pressed_look_us']:.0f} us for {found['sessions_and_calls_a_look']:.0f}"
                f" sessions and calls, a grant {found['grant_us']:.0f} us;"
                f" simulated in {timing.seconds:.1f} s"
            )
