# SPDX-License-Identifier: Apache-2.0
"""The agent process of one replayed session: `python -m agentcg.daemon.replay.agent JOB BOARD`.

It is executed once per session, before the run, so that it is small and alone in its address
space. It holds the base, plays its own steps, begins each tool call at the daemon, forks the tool
into the call's cgroup, and ends the call when the tool is gone. The tool is a fork and executes
nothing: starting an interpreter for each call would cost more than most calls.

Standard input is the start signal: one byte to begin; its end, before that, to go away.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

from agentcg.cgroups import Cgroup, fork_into
from agentcg.daemon.client import Client
from agentcg.daemon.messages import BeginCall
from agentcg.daemon.replay.board import AgentWord, Board, CallWord
from agentcg.daemon.replay.load import Memory, content, die_with_parent, small_pages_only
from agentcg.daemon.replay.plan import CallPlan, Plan, Turn
from agentcg.errors import AgentcgError, Conflict, NotFound

COMMAND_MAX = 4096  # as the API has it
REFERENCE_MAX = 128
ANSWER_TIMEOUT_S = 10.0


class Job(msgspec.Struct, frozen=True):
    """What one agent process is told."""

    plan: Plan
    session: str | None = None  # at the daemon; None: calls run in the agent's cgroup
    socket: str = ""
    wait_s: float = 0.0  # a call may wait so long for room
    call_oom_score_adj: int = 0


@dataclass(frozen=True)
class _Tool:
    """A tool that runs."""

    number: int  # of the call in the plan
    pid: int
    pidfd: int
    call: str | None  # the call's id at the daemon


class Agent:
    """One session, played."""

    def __init__(self, job: Job, board: Board) -> None:
        self._job = job
        self._board = board
        self._chunk = content(job.plan.chunk_bytes)
        self._memory = Memory(self._chunk, board.latencies(0))
        self._client = Client(Path(job.socket)) if job.session else None
        self._calls_begun = 0
        self._pid = os.getpid()

    def prepare(self) -> None:
        """Hold the base: what this process has already is part of it."""
        plan = self._job.plan
        own_chunks = _anonymous_bytes() // plan.chunk_bytes
        self._memory.hold(max(0, plan.base_chunks - own_chunks))
        self._board.set_agent(AgentWord.READY, time.monotonic_ns())

    def run(self) -> None:
        """Play all turns."""
        start_s = self._board.agent(AgentWord.START) / 1e9 + self._job.plan.delay_s
        time.sleep(max(0.0, start_s - time.monotonic()))
        self._board.set_agent(AgentWord.BEGUN, time.monotonic_ns())
        for turn in self._job.plan.turns:
            start_s = self._run_calls(turn, self._memory.play(turn.think, begun_s=start_s))
        self._board.set_agent(AgentWord.DONE, time.monotonic_ns())

    def _run_calls(self, turn: Turn, begun_s: float) -> float:
        """Start each call when it is due, wait for all; returns when the last one ended."""
        first = self._calls_begun
        self._calls_begun += len(turn.calls)
        waiting = dict(enumerate(turn.calls))
        ended_s: dict[int, float] = {}
        tools: dict[int, tuple[int, _Tool]] = {}  # by pidfd
        while waiting or tools:
            for index, call in list(waiting.items()):
                if _due(call, begun_s, ended_s) <= time.monotonic():
                    del waiting[index]
                    tool = self._begin(call, first + index)
                    tools[tool.pidfd] = (index, tool)
            due_s = min((_due(call, begun_s, ended_s) for call in waiting.values()), default=None)
            for pidfd in _wait(tools, due_s):
                index, tool = tools.pop(pidfd)
                self._end(tool)
                ended_s[index] = time.monotonic()
        return max(ended_s.values(), default=begun_s)

    def _begin(self, call: CallPlan, number: int) -> _Tool:
        """Begin a call at the daemon and start its tool in the call's cgroup.

        If the daemon fails, the tool runs without it, as `agentcg run` would have it; the board
        says so.
        """
        self._board.set_call(number, CallWord.BEGUN, time.monotonic_ns())
        if self._client is not None:
            try:
                begun = self._client.begin(
                    self._job.session or "",
                    BeginCall(
                        tool=call.tool,
                        command=call.command[:COMMAND_MAX],
                        reference=call.reference[:REFERENCE_MAX],
                        wait_s=self._job.wait_s,
                    ),
                    timeout_s=self._job.wait_s + ANSWER_TIMEOUT_S,
                )
                with Cgroup.open(begun.cgroup) as leaf:
                    return self._start(call, number, begun.id, leaf)
            except AgentcgError as error:
                self._ungoverned(number, error)
        return self._start(call, number, None, None)

    def _start(self, call: CallPlan, number: int, name: str | None, leaf: Cgroup | None) -> _Tool:
        """Fork the tool; in `leaf` from its first instruction if there is one."""
        pid = os.fork() if leaf is None else fork_into(leaf.fileno())
        if pid == 0:
            self._be_tool(call, number)
        self._board.set_call(number, CallWord.STARTED, time.monotonic_ns())
        return _Tool(number, pid, os.pidfd_open(pid), name)

    def _end(self, tool: _Tool) -> None:
        """Reap the tool and end its call."""
        os.close(tool.pidfd)
        _, status = os.waitpid(tool.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else 128 - code
        self._board.set_call(tool.number, CallWord.STATUS, code)
        self._board.set_call(tool.number, CallWord.ENDED, time.monotonic_ns())
        if self._client is None or tool.call is None:
            return
        try:
            self._client.end(tool.call, code)
        except (Conflict, NotFound):
            pass  # its cgroup was empty and the daemon has ended it by itself
        except AgentcgError as error:
            self._ungoverned(tool.number, error)

    def _ungoverned(self, number: int, error: AgentcgError) -> None:
        self._board.set_call(number, CallWord.UNGOVERNED, 1)
        print(f"replay: {self._job.session}: {error}", file=sys.stderr)

    def _be_tool(self, call: CallPlan, number: int) -> NoReturn:
        """In the forked tool: allocate, free and burn as recorded, and end."""
        status = 1
        try:
            die_with_parent(self._pid)
            if self._job.call_oom_score_adj:
                Path("/proc/self/oom_score_adj").write_text(str(self._job.call_oom_score_adj))
            memory = Memory(self._chunk, self._board.latencies(1 + number))
            memory.chunk_cpu_s = self._memory.chunk_cpu_s
            memory.play(call.steps)
            status = 0
        except Exception as error:
            print(f"replay: tool: {type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(status)


def _due(call: CallPlan, begun_s: float, ended_s: dict[int, float]) -> float:
    """When `call` is to start; never, while what it waits for runs."""
    if call.after is None:
        return begun_s + call.start_s
    return ended_s.get(call.after, float("inf")) + call.start_s


def _wait(pidfds: Iterable[int], until_s: float | None) -> list[int]:
    """Those of `pidfds` whose process has ended; waits for one, or until `until_s`."""
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    endless = until_s is None or until_s == float("inf")
    timeout_ms = None if endless else max(0.0, ((until_s or 0.0) - time.monotonic()) * 1000)
    return [pidfd for pidfd, _ in poll.poll(timeout_ms)]


def _anonymous_bytes() -> int:
    """Anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> int:
    """Entry point of the agent process."""
    job_descriptor, board_descriptor = (int(word) for word in sys.argv[1:3])
    with os.fdopen(job_descriptor, "rb") as source:
        job = msgspec.json.decode(source.read(), type=Job)
    die_with_parent(os.getppid())  # it has the pipe to tell if that is too late
    small_pages_only()
    agent = Agent(job, Board(board_descriptor, job.plan))
    agent.prepare()
    gc.freeze()  # children must not touch, and so copy, what the collector would look at
    gc.disable()
    if os.read(0, 1):
        agent.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
