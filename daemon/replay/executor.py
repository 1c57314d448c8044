# SPDX-License-Identifier: Apache-2.0
"""One run: sessions side by side under one control, watched to the end."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agentcg.cgroups import Usage, spawn_into
from agentcg.cgroups.knobs import MEMORY_CURRENT
from agentcg.daemon.messages import Priority
from agentcg.daemon.replay.agent import Job
from agentcg.daemon.replay.board import AgentWord, Board, CallWord
from agentcg.daemon.replay.controls import Control, Place
from agentcg.daemon.replay.plan import Plan
from agentcg.errors import AgentcgError, CgroupError

AGENT_MODULE = "agentcg.daemon.replay.agent"
PREPARE_TIMEOUT_S = 120.0
WATCH_S = 0.2  # between two looks at the sessions
STALL_FACTOR = 10.0  # without progress for so many times the plan, and a minute: stalled
STALL_EXTRA_S = 60.0
START_MARGIN_S = 0.05  # all agents are awake before the common start


@dataclass(frozen=True)
class Player:
    """One session to be played."""

    priority: Priority
    plan: Plan


@dataclass(frozen=True)
class Glimpse:
    """How one session is at the moment, for whoever looks on."""

    priority: Priority
    trace: str
    state: str  # "running", "done", "killed"
    calls_done: int
    calls_total: int
    memory_bytes: int | None


Look = Callable[[float, list[Glimpse]], None]
"""Called about five times a second with the seconds since the start and all sessions."""


@dataclass
class Observed:
    """One session of a run, from its agent's birth to the end of the run."""

    player: Player
    board: Board
    place: Place
    pid: int
    pidfd: int
    start_pipe: int
    exit_status: int | None = None  # of the agent, as a shell has it; None: still there
    died_ns: int = 0
    usage: Usage | None = None

    @property
    def state(self) -> str:
        """In a word, for display."""
        if self.exit_status is None:
            return "running"
        return "done" if self.board.agent(AgentWord.DONE) else "killed"

    def glimpse(self) -> Glimpse:
        """What there is to see now."""
        calls = len(self.player.plan.calls)
        done = sum(self.board.call(i, CallWord.ENDED) > 0 for i in range(calls))
        memory = self.place.session.get(MEMORY_CURRENT)
        return Glimpse(self.player.priority, self.player.plan.name, self.state, done, calls, memory)


class Patience:
    """How long to watch a play: a machine may be slow, but something has to get on."""

    def __init__(self, most_s: float, now_s: float) -> None:
        self._most_s = most_s
        self._since_s = now_s
        self._seen: list[tuple[str, int]] = []

    def is_over(self, now_s: float, glimpses: Sequence[Glimpse]) -> bool:
        """Whether no session has ended, and none of their calls, for longer than that."""
        seen = [(glimpse.state, glimpse.calls_done) for glimpse in glimpses]
        if seen != self._seen:
            self._seen, self._since_s = seen, now_s
        return now_s - self._since_s > self._most_s


class Run:
    """Plays sessions under a control. `play` once, read, `close`; a context manager.

    Not for a process with several threads: agents are born in their cgroups (clone3).
    """

    def __init__(self, control: Control, socket: Path, *, wait_s: float = 0.0) -> None:
        self._control = control
        self._socket = socket
        self._wait_s = wait_s
        self._sessions: list[Observed] = []
        self.shared: tuple[Usage, Usage] | None = None
        """All sessions together, before and after."""

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def play(self, players: list[Player], look: Look | None = None) -> list[Observed]:
        """Start agents, let each hold its base, begin together, watch until all have ended."""
        places = self._control.open([player.priority for player in players])
        before = self._control.usage()
        for player, place in zip(players, places, strict=True):
            self._sessions.append(self._start(player, place))
        self._await_ready()
        begun_s = self._go()
        longest_s = max(player.plan.delay_s + player.plan.duration_s for player in players)
        patience = Patience(longest_s * STALL_FACTOR + STALL_EXTRA_S, begun_s)
        while any(seen.exit_status is None for seen in self._sessions):
            now_s = time.monotonic()
            glimpses = [seen.glimpse() for seen in self._sessions]
            if patience.is_over(now_s, glimpses):
                break
            self._wait(WATCH_S)
            if look is not None:
                look(now_s - begun_s, glimpses)
        for seen in self._sessions:
            seen.usage = seen.place.session.usage()
        self.shared = (before, self._control.usage())
        return self._sessions

    def close(self) -> None:
        """Kill what still runs, remove the cgroups, free the boards."""
        try:
            self._control.close()
        finally:
            for seen in self._sessions:
                with suppress(ChildProcessError):
                    os.waitpid(seen.pid, 0)
                os.close(seen.pidfd)
                os.close(seen.start_pipe)
                seen.board.close()
            self._sessions.clear()

    def _start(self, player: Player, place: Place) -> Observed:
        """An agent process, born in its cgroup."""
        job = Job(
            plan=player.plan,
            session=place.name,
            socket=str(self._socket),
            wait_s=self._wait_s,
            call_oom_score_adj=place.call_oom_score_adj,
        )
        board = Board.create(player.plan)
        told = os.memfd_create("agentcg-replay-job")
        start_read, start_write = os.pipe()
        try:
            with os.fdopen(os.dup(told), "wb") as file:
                file.write(msgspec.json.encode(job))
            os.lseek(told, 0, os.SEEK_SET)
            pid = spawn_into(
                place.runtime.fileno(),
                [sys.executable, "-m", AGENT_MODULE, str(told), str(board.descriptor)],
                os.environ,
                stdio=(start_read, 1, 2),
                pass_fds=(told, board.descriptor),
                new_session=True,  # Ctrl-C is for us, and we see to them
            )
        except BaseException:
            board.close()
            os.close(start_write)
            raise
        finally:
            os.close(told)
            os.close(start_read)
        return Observed(player, board, place, pid, os.pidfd_open(pid), start_write)

    def _await_ready(self) -> None:
        """Until each agent holds its base, or has died of the attempt."""
        until_s = time.monotonic() + PREPARE_TIMEOUT_S
        while not all(
            seen.board.agent(AgentWord.READY) or seen.exit_status is not None
            for seen in self._sessions
        ):
            if time.monotonic() > until_s:
                raise AgentcgError(
                    f"not every agent holds its base after {PREPARE_TIMEOUT_S:.0f} s",
                    remedy="the limit is below the sum of the bases, or the machine is overloaded",
                )
            self._wait(0.02)

    def _go(self) -> float:
        """Tell all agents the common start; returns it in seconds."""
        start_ns = time.monotonic_ns() + int(START_MARGIN_S * 1e9)
        for seen in self._sessions:
            seen.board.set_agent(AgentWord.START, start_ns)
            with suppress(BrokenPipeError):
                os.write(seen.start_pipe, b"!")
        return start_ns / 1e9

    def _wait(self, timeout_s: float) -> None:
        """Wait for agents to end, at most so long."""
        poll = select.poll()
        for seen in self._sessions:
            if seen.exit_status is None:
                poll.register(seen.pidfd, select.POLLIN)
        ended = {descriptor for descriptor, _ in poll.poll(timeout_s * 1000)}
        for seen in self._sessions:
            if seen.pidfd in ended:
                self._ended(seen)

    def _ended(self, seen: Observed) -> None:
        seen.died_ns = time.monotonic_ns()
        _, status = os.waitpid(seen.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        seen.exit_status = code if code >= 0 else 128 - code
        if seen.exit_status:
            # A container ends with its first process: nothing of a dead agent goes on.
            with suppress(CgroupError):
                seen.place.session.kill()
