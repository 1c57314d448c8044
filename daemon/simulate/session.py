# SPDX-License-Identifier: Apache-2.0
"""Hosts, sessions and calls as they are at the moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from agentcg.daemon.engine.forecast import Forecast
from agentcg.daemon.engine.history import EMPTY, History
from agentcg.daemon.engine.queue import Standing
from agentcg.daemon.messages import Grant, Phase, Priority
from agentcg.daemon.simulate.cpu import shares
from agentcg.daemon.simulate.kernel import SWAP_IN_BYTES_PER_S
from agentcg.daemon.simulate.pool import Pool
from agentcg.daemon.simulate.process import Process
from agentcg.daemon.simulate.program import CallProgram, Program, TurnProgram

PSI_WINDOW_S = 10.0  # avg10


@dataclass(slots=True, eq=False)
class LiveCall:
    """A call that waits to begin or runs."""

    id: str
    index: int  # in its turn
    program: CallProgram
    asked_at: float
    begun_at: float = 0.0
    grant: Grant | None = None
    committed_bytes: float = 0.0
    promised_bytes: float = 0.0  # of its lease, and not used
    lease_bytes: int | None = None
    met: bool = False  # held up at its lease, and told
    throttled: bool = False  # by the ladder
    waits_for_bytes: int = 0  # of the host, while it waits
    forecast: Forecast | None = None  # as it asked to begin
    standing: Standing | None = None  # in the queue
    process: Process | None = None


@dataclass(slots=True, eq=False)
class Session:
    """One agent's place; it plays its programs one after the other."""

    name: str
    priority: Priority
    host: Host
    programs: Sequence[Program]
    pool: Pool | None = None  # where the session has a limit of its own
    cpu_weight: int = 100
    speed: float = 1.0  # share of full speed that the CPU allows
    round: int = -1  # of the programs
    turn: int = 0
    begun_at: float = 0.0
    runtime: Process | None = None
    committed_bytes: float = 0.0  # of the runtime, as counted by admission
    calls: dict[str, LiveCall] = field(default_factory=dict)  # that run
    waiting: dict[str, LiveCall] = field(default_factory=dict)  # for room
    due: dict[int, float] = field(default_factory=dict)  # index in the turn -> when
    history: History = EMPTY  # of its ended calls
    peak_bytes: float = 0.0  # that it held of late
    peak_at: float = 0.0
    open_calls: int = 0  # of the turn, not ended
    thinks_since: float = 0.0
    refaulted_bytes: float = 0.0  # taken back from swap
    stats: RunStats | None = None

    @property
    def program(self) -> Program:
        """What it plays now."""
        return self.programs[self.round % len(self.programs)]

    @property
    def now_turn(self) -> TurnProgram:
        """The turn that it is in."""
        return self.program.turns[self.turn]

    @property
    def phase(self) -> Phase:
        """As the daemon has it."""
        return "calling" if self.calls else "thinking"

    @property
    def processes(self) -> list[Process]:
        """All of them."""
        found = [call.process for call in self.calls.values() if call.process is not None]
        return found if self.runtime is None else [self.runtime, *found]

    def begin(self, now: float) -> RunStats:
        """The present program begins; what will be counted of it."""
        self.turn, self.begun_at = 0, now
        self.stats = RunStats(
            session=self.name,
            priority=self.priority,
            trace=self.program.name,
            planned_s=self.program.duration_s,
            calls_planned=self.program.calls,
        )
        return self.stats

    def take_back(self, now: float) -> float:
        """The agent goes on, with what it needs for that; seconds until that is out of swap. What
        was used last goes into swap last."""
        agent = self.runtime
        if agent is None or not agent.swapped:
            return 0.0
        agent.settle(now)
        back = agent.swapped - agent.level * (1 - self.host.hot)
        if back <= 0:
            return 0.0
        agent.swap(-back)
        count(agent)
        self.refaulted_bytes += back
        return back / SWAP_IN_BYTES_PER_S


@dataclass(slots=True, eq=False)
class Host:
    """One machine."""

    name: str
    cpus: float
    pool: Pool
    sessions: list[Session] = field(default_factory=list)
    cores: float = 0.0  # that processes would keep busy
    crowded: bool = False  # more than there are
    slowed: dict[Process, None] = field(default_factory=dict)  # in order: meet their memory.high
    stall_percent: float = 0.0  # memory PSI, some, avg10
    looked_at: float = 0.0
    waiting: dict[str, tuple[Session, LiveCall]] = field(default_factory=dict)
    committed_bytes: float = 0.0
    promised_bytes: float = 0.0
    asked: bool = False  # a call is held up and wants more
    retried_at: float = 0.0
    calls_running: int = 0
    look: int = 0  # version of the next look's event
    playing: int = 0  # sessions that are not done
    swap_bytes: float = 0.0  # as much can be in swap; 0: there is none
    swapped_bytes: float = 0.0
    hot: float = 0.0  # share of its memory that an agent needs to begin calls

    @property
    def swap_free_bytes(self) -> float:
        """What can still go into swap."""
        return max(self.swap_bytes - self.swapped_bytes, 0.0)

    def commit(self, held: Session | LiveCall, committed_bytes: float) -> None:
        """What admission counts for a runtime or a call is now so much."""
        self.committed_bytes += committed_bytes - held.committed_bytes
        held.committed_bytes = committed_bytes

    def promise(self, call: LiveCall, promised_bytes: float) -> None:
        """A call may grow by so much before it has to ask."""
        self.promised_bytes += promised_bytes - call.promised_bytes
        call.promised_bytes = promised_bytes

    def note_stalls(self, since_s: float) -> None:
        """For `since_s` somebody has waited for memory, or nobody has."""
        part = min(1.0, since_s / PSI_WINDOW_S)
        self.stall_percent += part * ((100.0 if self.slowed else 0.0) - self.stall_percent)

    def share_cpu(self, now: float) -> Iterator[Process]:
        """Share the CPU out anew; a process with another speed is settled, and to be planned."""
        wanted = [
            (
                sum(p.cores for p in session.processes if not (p.frozen or p.slowed)),
                float(session.cpu_weight),
            )
            for session in self.sessions
        ]
        found = shares(wanted, self.cpus)
        self.crowded = any(share < 1 for share in found)
        for session, share in zip(self.sessions, found, strict=True):
            if abs(share - session.speed) > 0.01 or (share == 1.0) != (session.speed == 1.0):
                session.speed = share
                for process in session.processes:
                    process.settle(now)
                    process.speed = share
                    yield process


def count(process: Process) -> None:
    """Admission counts what a process holds as of its last event."""
    host, call = process.session.host, process.call
    if call is None:
        host.commit(process.session, process.charged)
    else:
        need = 0 if call.grant is None else call.grant.memory_need_bytes or 0
        host.commit(call, max(process.level, need))
        if call.lease_bytes is not None:
            most = process.level if process.frozen else process.max or 0.0
            host.promise(call, max(most - process.level, 0.0))


def candidates(
    sessions: Iterable[Session], now: float, adjusted: int
) -> Iterator[tuple[Process, float, int]]:
    """Whom the OOM killer chooses from: process, bytes, oom_score_adj (`adjusted` for calls)."""
    for session in sessions:
        for process in session.processes:
            process.settle(now)
            yield process, process.level, 0 if process.call is None else adjusted


@dataclass(slots=True, kw_only=True)
class RunStats:
    """One program on one session, from its start to its end."""

    session: str
    priority: Priority
    trace: str
    planned_s: float
    calls_planned: int
    wall_s: float | None = None  # None: killed, or cut off by the end of the simulation
    killed: bool = False  # the agent
    calls_completed: int = 0
    calls_killed: int = 0
    kills: dict[str, int] = field(default_factory=dict)  # of calls, by whom
    waited_s: float = 0.0
    slowed_s: float = 0.0
    frozen_s: float = 0.0

    @property
    def slowdown(self) -> float | None:
        """Wall time against the plan; None without a wall time."""
        return None if self.wall_s is None else self.wall_s / max(self.planned_s, 1e-9)
