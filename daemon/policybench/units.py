# SPDX-License-Identifier: Apache-2.0
"""The pieces of work of a measurement, done in order until the time is up, each kept at once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from agentcg.daemon.policybench import mixes
from agentcg.daemon.policybench.figures import Figures, StormResult, figures
from agentcg.daemon.policybench.mixes import Mix
from agentcg.daemon.policybench.storm import Ended
from agentcg.daemon.policybench.zram import swap_on_zram
from agentcg.daemon.replay.campaign import Alone, Campaign, Look, Report, Settings, machine
from agentcg.daemon.replay.controls import CONTROLS, ControlName
from agentcg.daemon.replay.executor import Glimpse
from agentcg.daemon.replay.plan import Shape, build
from agentcg.daemon.replay.result import LATE_SHARE, Machine
from agentcg.daemon.replay.trace import Trace
from agentcg.errors import AgentcgError, Conflict

SPEEDS = (20.0, 10.0, 5.0)
OVERHEAD_S = 10.0  # of one run: starting agents, taking their bases
SLOWED = 1.5  # a run takes up to so many times its plan
STORM_PART = 0.8  # of the high agent's run
STORM_LIMIT_BYTES = 1_100_000_000
FIGURES = ("paper", "mixes", "no-pressure", "storm")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the figures; a file is only gone on with if it was asked the same."""

    seed: int = 0
    runs: int = 3
    mixes: int = 20
    window_s: float = 60.0
    speed: float | None = None  # None: the highest at which the machine keeps up
    cpu: float = 1.0
    swap_bytes: int = 0  # on zram; 0: the cases with swap are left out
    traces: int = 0


class Kept(msgspec.Struct, kw_only=True):
    """What OUT holds."""

    asked: Asked
    machine: Machine
    format: int = 1
    speed: float | None = None
    late_share: float | None = None  # of the high agent alone at that speed
    campaigns: dict[str, Report] = {}
    storms: dict[str, StormResult] = {}
    figures: Figures | None = None
    left_out: list[str] = []
    warnings: list[str] = []


@dataclass(frozen=True)
class Unit:
    """One piece of work; `expected_s` is a guess."""

    key: str
    expected_s: float
    work: Callable[[], None]


class Bench:
    """Measures into `out`, which may hold what an earlier go has measured."""

    def __init__(  # noqa: PLR0917 - what is measured, and where it is kept
        self, traces: Sequence[Trace], asked: Asked, out: Path, socket: Path,
        wanted: Sequence[str] = FIGURES, look: Look | None = None,
    ) -> None:  # fmt: skip
        self._traces = traces
        self._asked = asked
        self._out = out
        self._socket = socket
        self._wanted = wanted
        self._look = look
        self._paper = mixes.paper(traces)
        self.kept = self._load()

    def measure(self, until: float) -> Kept:
        """Work until `time.monotonic()` would pass `until`; what is left is named."""
        self._choose_speed()
        left: list[str] = []
        for unit in self._units():
            if unit.key in self.kept.campaigns or unit.key in self.kept.storms:
                continue
            if time.monotonic() + unit.expected_s > until:
                left.append(unit.key)
                continue
            unit.work()
            self._save([])
        self._save(left)
        return self.kept

    # --- What there is to do ---

    def _units(self) -> Iterator[Unit]:
        for number in range(1, self._asked.runs + 1):
            if "paper" in self._wanted:
                for mix in self._paper:
                    yield self._campaign(f"{mix.name}/{number}", mix, alone="each")
                    if self._asked.swap_bytes:
                        yield self._campaign(
                            f"{mix.name}-swap/{number}", mix, alone="each", swap=True
                        )
            if "storm" in self._wanted:
                yield Unit(f"storm/{number}", 60.0, lambda n=number: self._storm(n))  # type: ignore[misc]
            if "no-pressure" in self._wanted:
                roomy = mixes.roomy(self._paper[0])
                yield self._campaign(f"roomy/{number}", roomy, controls=("none", "agentcg"))
            if "mixes" in self._wanted and number == 1:
                for mix in self._drawn():
                    yield self._campaign(f"mixes/{mix.name}", mix, alone="high")

    def _drawn(self) -> list[Mix]:
        most = int(self.kept.machine.memory_bytes * 0.7)
        asked = self._asked
        return mixes.drawn(self._traces, asked.seed, asked.mixes, asked.window_s, most)

    def _campaign(
        self, key: str, mix: Mix, *, alone: Alone = "no", swap: bool = False,
        controls: tuple[ControlName, ...] = CONTROLS,
    ) -> Unit:  # fmt: skip
        planned_s = max(build(trace, self._shape(mix)).duration_s for _, trace in mix.sessions)
        different = len({trace.name for _, trace in mix.sessions})
        alone_runs = {"no": 0, "high": 1, "each": different}[alone]
        plays = len(controls) * (planned_s * SLOWED + OVERHEAD_S) + alone_runs * (planned_s + 5)

        def work() -> None:
            settings = replace(self._settings(mix, key), controls=controls, alone=alone, swap=swap)
            with swap_on_zram(self._asked.swap_bytes) if swap else nullcontext():
                self.kept.campaigns[key] = Campaign(mix.sessions, settings, self._look).measure()

        return Unit(key, plays, work)

    def _shape(self, mix: Mix) -> Shape:
        return Shape(
            speed=self.kept.speed or SPEEDS[-1],
            base_extra_bytes=mix.base_extra_bytes,
            cpu=self._asked.cpu,
        )

    def _settings(self, mix: Mix, key: str) -> Settings:
        """A call may wait for room as long as the policy lets it: 30 recorded seconds."""
        shape = self._shape(mix)
        seed = sum(key.encode()) + self._asked.seed
        return Settings(
            limit_bytes=mix.limit_bytes, shape=shape, socket=self._socket, seed=seed,
            wait_s=30.0 / shape.speed,
        )  # fmt: skip

    # --- Work that is not a campaign ---

    def _choose_speed(self) -> None:
        """The highest speed at which the high agent alone is at most 5% late."""
        kept, mix = self.kept, self._paper[0]
        if kept.speed is not None:
            return
        candidates = SPEEDS if self._asked.speed is None else (self._asked.speed,)
        for speed in candidates:
            kept.speed = speed
            settings = replace(self._settings(mix, "speed"), controls=(), alone="high")
            report = Campaign(mix.sessions[:1], settings, self._look).measure()
            seen = report.alone[0].sessions[0]
            kept.late_share = None if seen.late_s is None else seen.late_s / seen.planned_s
            if kept.late_share is not None and kept.late_share <= LATE_SHARE:
                break
        self._save([])

    def _storm(self, number: int) -> None:
        """The paper's high agent under agentcg, by itself and beside the storm."""
        mix = Mix("storm", self._paper[0].sessions[:1], STORM_LIMIT_BYTES, 0.0,
                  mixes.BASE_EXTRA_BYTES)  # fmt: skip
        settings = replace(self._settings(mix, f"storm/{number}"), controls=("agentcg",))
        alone = Campaign(mix.sessions, settings, self._look).measure()
        planned_s = build(mix.sessions[0][1], self._shape(mix)).duration_s
        storms: list[subprocess.Popen[bytes]] = []

        def look(label: str, seconds: float, seen: list[Glimpse]) -> None:
            if not storms:
                storms.append(self._start_storm(planned_s * STORM_PART))
            if self._look is not None:
                self._look(label, seconds, seen)

        try:
            beside = Campaign(mix.sessions, settings, look).measure()
            told, _ = storms[0].communicate(timeout=120)
        finally:
            for storm in storms:
                storm.kill()
        if storms[0].returncode:
            raise AgentcgError(f"the storm ended with status {storms[0].returncode}")
        ended = msgspec.json.decode(told, type=list[Ended])
        self.kept.storms[f"storm/{number}"] = StormResult(alone=alone, beside=beside, storm=ended)

    def _start_storm(self, seconds: float) -> subprocess.Popen[bytes]:
        command = (
            sys.executable,
            "-m",
            "agentcg.daemon.policybench.storm",
            self._socket,
            str(seconds),
        )
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    # --- What is kept ---

    def _load(self) -> Kept:
        if not self._out.exists():
            return Kept(asked=self._asked, machine=machine())
        try:
            kept = msgspec.json.decode(self._out.read_bytes(), type=Kept)
        except (OSError, msgspec.DecodeError) as error:
            raise Conflict(
                f"{self._out} is not what an earlier go has left: {error}",
                remedy="name another file, or remove it",
            ) from error
        if kept.asked != self._asked or kept.machine.kernel != machine().kernel:
            raise Conflict(
                f"{self._out} was measured with other options or on another kernel",
                remedy="name another file, or remove it",
            )
        return kept

    def _save(self, left_out: list[str]) -> None:
        """All of it, at once or not at all."""
        kept = self.kept
        kept.left_out = left_out
        kept.figures = figures(kept.campaigns, kept.storms)
        kept.warnings = self._warnings()
        fresh = self._out.with_name(self._out.name + ".new")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
        fresh.replace(self._out)

    def _warnings(self) -> list[str]:
        found = [f"{key}: {text}" for key, r in self.kept.campaigns.items() for text in r.warnings]
        late = self.kept.late_share
        if late is None or late > LATE_SHARE:
            told = "not to be had" if late is None else f"{late:.0%} late"
            found.append(f"speed {self.kept.speed:g}: the high agent alone is {told}: this machine"
                         " is the bottleneck, and factors shrink towards 1")  # fmt: skip
        return found
