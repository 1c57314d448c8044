# SPDX-License-Identifier: Apache-2.0
"""A whole measurement: the same sessions alone and under each control, several times."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import psutil

import agentcg
from agentcg.daemon.client import Client
from agentcg.daemon.messages import Priority
from agentcg.daemon.replay.collect import collect, memory_figures
from agentcg.daemon.replay.controls import Control, ControlName, Governed, Plain, make_way
from agentcg.daemon.replay.executor import Glimpse, Player, Run
from agentcg.daemon.replay.plan import Plan, Shape, build
from agentcg.daemon.replay.result import (
    LATE_SHARE,
    Machine,
    RunResult,
    Summary,
    median,
    summarise,
)
from agentcg.daemon.replay.trace import Trace

Alone = Literal["no", "high", "each"]
Look = Callable[[str, float, list[Glimpse]], None]
"""Called about five times a second: which run, seconds since its start, all sessions."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides a measurement besides the traces."""

    limit_bytes: int
    shape: Shape
    socket: Path
    controls: tuple[ControlName, ...] = ("agentcg",)
    runs: int = 1
    seed: int = 0
    alone: Alone = "no"
    swap: bool = False
    wait_s: float = 0.0
    cgroup: Path | None = None  # parent for `none` and `static`; None: beside the daemon's root


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` writes."""

    format: int
    machine: Machine
    settings: dict[str, object]
    alone: list[RunResult]
    runs: list[RunResult]
    summary: list[Summary]
    warnings: list[str]


@dataclass
class Campaign:
    """Measures; `report` is complete when `measure` has returned."""

    sessions: list[tuple[Priority, Trace]]
    settings: Settings
    look: Look | None = None
    alone: list[RunResult] = field(default_factory=list)
    runs: list[RunResult] = field(default_factory=list)
    _alone_s: dict[str, float | None] = field(default_factory=dict)

    def measure(self) -> Report:
        """All runs; raises the errors of the daemon and of the kernel as they are."""
        if "agentcg" in self.settings.controls:  # found out now, and not after the other controls
            with Client(self.settings.socket) as client:
                make_way(client)
        self._measure_alone()
        for number in range(1, self.settings.runs + 1):
            players = self._players(number)
            # Controls take turns, so that what drifts on the machine meets all of them.
            for control in self.settings.controls:
                self.runs.append(self._run(control, number, players))
        return Report(
            format=1,
            machine=machine(),
            settings=self._described(),
            alone=self.alone,
            runs=self.runs,
            summary=summarise(self.runs),
            warnings=self._warnings(),
        )

    def _players(self, number: int) -> list[Player]:
        shape = self.settings.shape
        return [
            Player(priority, build(trace, shape, f"{self.settings.seed}/{number}/{index}"))
            for index, (priority, trace) in enumerate(self.sessions)
        ]

    def _measure_alone(self) -> None:
        """Each different trace (or only those of high priority) by itself, without control."""
        if self.settings.alone == "no":
            return
        unlike = {
            trace.name: (priority, trace)
            for priority, trace in reversed(self.sessions)
            if self.settings.alone == "each" or priority == "high"
        }
        for name, (priority, trace) in reversed(unlike.items()):
            for number in range(1, self.settings.runs + 1):
                plan = build(trace, msgspec.structs.replace(self.settings.shape, stagger_s=0.0))
                self.alone.append(self._run("alone", number, [Player(priority, plan)]))
            walls = [run.sessions[0].wall_s for run in self.alone if run.sessions[0].trace == name]
            self._alone_s[name] = median(walls)

    def _run(self, control: str, number: int, players: list[Player]) -> RunResult:
        label = f"{control} {players[0].plan.name}" if control == "alone" else control
        label += f", run {number} of {self.settings.runs}"
        look = self.look
        begun_at = time.time()
        with Client(self.settings.socket) as client:
            made = self._control(control, client)
            with Run(made, self.settings.socket, wait_s=self.settings.wait_s) as run:
                observed = run.play(
                    players, None if look is None else lambda s, seen: look(label, s, seen)
                )
                sessions = [
                    collect(seen, self._alone_s.get(seen.player.plan.name)) for seen in observed
                ]
                shared = memory_figures(*run.shared) if run.shared else memory_figures(None, None)
        return RunResult(
            control=control,
            run=number,
            seed=f"{self.settings.seed}/{number}",
            begun_at=begun_at,
            shared=shared,
            sessions=sessions,
        )

    def _control(self, name: str, client: Client) -> Control:
        settings = self.settings
        if name == "agentcg":
            return Governed(client, settings.limit_bytes, swap=settings.swap)
        parent = settings.cgroup or Path(client.host().cgroup).parent
        return Plain(parent, settings.limit_bytes, equal_parts=name == "static", swap=settings.swap)

    def _described(self) -> dict[str, object]:
        settings = self.settings
        return {
            "limit_bytes": settings.limit_bytes,
            "speed": settings.shape.speed,
            "chunk_bytes": settings.shape.chunk_bytes,
            "base_extra_bytes": settings.shape.base_extra_bytes,
            "cpu": settings.shape.cpu,
            "stagger_s": settings.shape.stagger_s,
            "controls": list(settings.controls),
            "runs": settings.runs,
            "seed": settings.seed,
            "swap": settings.swap,
            "wait_s": settings.wait_s,
            "sessions": [
                {"priority": player.priority, **describe(player.plan)}
                for player in self._players(1)
            ],
        }

    def _warnings(self) -> list[str]:
        """What a reader must know before believing the figures."""
        found: list[str] = []
        for run in self.alone:
            seen = run.sessions[0]
            if seen.wall_s is None:
                found.append(f"{seen.trace}: {seen.state} even alone: the limit is too low for it")
            if seen.late_s is not None and seen.late_s > LATE_SHARE * seen.planned_s:
                found.append(
                    f"{seen.trace}: alone it takes {100 * seen.late_s / seen.planned_s:.0f}% longer"
                    f" than planned: this machine is too slow for speed"
                    f" {self.settings.shape.speed:g}"
                )
        ungoverned = sum(s.calls.ungoverned for run in self.runs for s in run.sessions)
        if ungoverned:
            found.append(f"{ungoverned} calls ran without the daemon")
        return list(dict.fromkeys(found))


def describe(plan: Plan) -> dict[str, object]:
    """The totals of a plan."""
    return {
        "trace": plan.name,
        "planned_s": plan.duration_s,
        "base_bytes": plan.base_chunks * plan.chunk_bytes,
        "calls": len(plan.calls),
        "allocations": plan.allocations,
        "cpu_s": plan.cpu_s,
        "cpu_cut_s": plan.cpu_cut_s,
        "delay_s": plan.delay_s,
    }


def machine() -> Machine:
    """This machine."""
    return Machine(
        kernel=platform.release(),
        architecture=platform.machine(),
        cpus=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        swap_bytes=psutil.swap_memory().total,
        virtualisation=_virtualisation(),
        python=platform.python_version(),
        agentcg=agentcg.__version__,
    )


def _virtualisation() -> str | None:
    """What the firmware calls itself where that is a virtual machine's name."""
    try:
        vendor = Path("/sys/class/dmi/id/sys_vendor").read_text().strip()
    except OSError:
        return None
    return vendor or None
