# SPDX-License-Identifier: Apache-2.0
"""The agent process of one replayed session: `python -m agentcg.daemon.replay.agent JOB BOARD`.

It is executed once per session, before the run, so that it is small and alone in its address
space. It holds the base, plays its own steps, and forks one runner for each tool call. The runner
stays in the agent's cgroup and is what `agentcg run` is to a real agent: it begins the call at the
daemon, has the tool born in the call's cgroup, waits for it, and ends the call. The tool is a fork
and executes nothing: starting an interpreter for each call would cost more than most calls.

Standard input is the start signal: one byte to begin; its end, before that, to go away.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from agentcg.cgroups import Cgroup, fork_into
from agentcg.daemon.client import Client
from agentcg.daemon.messages import BeginCall
from agentcg.daemon.replay.board import AgentWord, Board, CallWord
from agentcg.daemon.replay.load import Memory, content, die_with_parent, small_pages_only
from agentcg.daemon.replay.plan import CallPlan, Plan, Turn
from agentcg.errors import AgentcgError

COMMAND_MAX = 4096  # as the API has it


class Job(msgspec.Struct, frozen=True):
    """What one agent process is told."""

    plan: Plan
    session: str | None = None  # at the daemon; None: calls run in the agent's cgroup
    socket: str = ""
    wait_s: float = 0.0  # a call may wait so long for room
    call_oom_score_adj: int = 0


class Agent:
    """One session, played."""

    def __init__(self, job: Job, board: Board) -> None:
        self._job = job
        self._board = board
        self._chunk = content(job.plan.chunk_bytes)
        self._memory = Memory(self._chunk, board.latencies(0))
        self._calls_begun = 0

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
        runners: dict[int, tuple[int, int]] = {}  # pidfd -> pid, index
        poll = select.poll()
        while waiting or runners:
            for index, call in list(waiting.items()):
                if _due(call, begun_s, ended_s) <= time.monotonic():
                    del waiting[index]
                    pid = self._fork_runner(call, first + index)
                    descriptor = os.pidfd_open(pid)
                    runners[descriptor] = (pid, index)
                    poll.register(descriptor, select.POLLIN)
            due_s = min((_due(call, begun_s, ended_s) for call in waiting.values()), default=None)
            for descriptor, _ in poll.poll(_timeout_ms(due_s)):
                pid, index = runners.pop(descriptor)
                poll.unregister(descriptor)
                os.close(descriptor)
                os.waitpid(pid, 0)
                ended_s[index] = time.monotonic()
        return max(ended_s.values(), default=begun_s)

    def _fork_runner(self, call: CallPlan, number: int) -> int:
        self._board.set_call(number, CallWord.BEGUN, time.monotonic_ns())
        pid = os.fork()
        if pid == 0:
            _leave(lambda: self._run_call(call, number))
        return pid

    def _run_call(self, call: CallPlan, number: int) -> None:
        """In the runner: begin, run, end."""
        die_with_parent()
        if self._job.session is None:
            self._run_tool(call, number, None)
            return
        with Client(Path(self._job.socket)) as client:
            try:
                begun = client.begin(
                    self._job.session,
                    BeginCall(
                        tool=call.tool,
                        command=call.command[:COMMAND_MAX],
                        reference=call.reference[:128],
                        wait_s=self._job.wait_s,
                    ),
                    timeout_s=self._job.wait_s + 10,
                )
                with Cgroup.open(Path(begun.cgroup)) as leaf:
                    status = self._run_tool(call, number, leaf)
                client.end(begun.id, status)
            except AgentcgError as error:
                self._ungoverned(call, number, error)

    def _ungoverned(self, call: CallPlan, number: int, error: AgentcgError) -> None:
        """The daemon failed: an agent goes on without it, and so do we, and count it."""
        self._board.set_call(number, CallWord.UNGOVERNED, 1)
        print(f"replay: {self._job.session}: {error}", file=sys.stderr)
        if not self._board.call(number, CallWord.STARTED):
            self._run_tool(call, number, None)

    def _run_tool(self, call: CallPlan, number: int, leaf: Cgroup | None) -> int:
        """Fork the tool, born in `leaf`; its status as a shell has it."""
        self._board.set_call(number, CallWord.STARTED, time.monotonic_ns())
        pid = os.fork() if leaf is None else fork_into(leaf.fileno())
        if pid == 0:
            _leave(lambda: self._be_tool(call, number))
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else 128 - code
        self._board.set_call(number, CallWord.STATUS, code)
        self._board.set_call(number, CallWord.ENDED, time.monotonic_ns())
        return code

    def _be_tool(self, call: CallPlan, number: int) -> None:
        """In the tool: allocate, free and burn as recorded."""
        die_with_parent()
        adj = self._job.call_oom_score_adj
        if adj:
            Path("/proc/self/oom_score_adj").write_text(str(adj))
        Memory(self._chunk, self._board.latencies(1 + number)).play(call.steps)


def _due(call: CallPlan, begun_s: float, ended_s: dict[int, float]) -> float:
    """When `call` is to start; never, while what it waits for runs."""
    if call.after is None:
        return begun_s + call.start_s
    return ended_s.get(call.after, float("inf")) + call.start_s


def _timeout_ms(due_s: float | None) -> float | None:
    """For poll(): until `due_s`, or without end."""
    if due_s is None or due_s == float("inf"):
        return None
    return max(0.0, (due_s - time.monotonic()) * 1000)


def _leave(work: Callable[[], object]) -> None:
    """Do `work` in a forked child and end it there, whatever happens."""
    status = 1
    try:
        work()
        status = 0
    except Exception as error:
        print(f"replay: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(status)


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
    die_with_parent()
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
