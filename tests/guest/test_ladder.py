# SPDX-License-Identifier: Apache-2.0
"""Leases and the ladder on a real memory controller: a daemon of our own, 400 MiB for all."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentcg.daemon.messages import Priority
from agentcg.daemon.policybench.storm import SESSION
from agentcg.daemon.policybench.zram import swap_on_zram
from agentcg.daemon.replay.campaign import Campaign, Settings
from agentcg.daemon.replay.plan import Shape
from agentcg.daemon.replay.trace import Trace
from cgroup_support import own_cgroup, until
from daemon_support import Daemon, delegate, fresh
from replay_support import shell, trace
from systemd_support import knob

MIB = 1 << 20
BOUND = 400 * MIB
PATIENCE_S = 300.0  # the guest is emulated
TAKE = """
import sys, time
sys.stdin.readline()
held = []
while len(held) < {mib}:
    held.append(bytearray(b"x" * (1 << 20)))
print("full", flush=True)
sys.stdin.readline()
"""
FORKS = """
import os, sys, time
sys.stdin.readline()
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
    time.sleep({pause_s})
"""


@contextmanager
def bounded_daemon() -> Iterator[Daemon]:
    """A daemon with `BOUND` for all sessions, without a service manager that looks after it."""
    options = ("--require", "memory", "--require", "pids", "--bpf", "off")
    with own_cgroup() as parent, tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        (home / "policies").mkdir()
        delegate(parent)
        started = Daemon(parent.path / "sessions", home / "sock", home / "policies", *options)
        started.start()
        started.good("PATCH", "/v1/host", {"memory_max_bytes": BOUND})
        try:
            yield started
        finally:
            if started.process is not None and started.process.poll() is None:
                started.kill()


@pytest.fixture(scope="module")
def shared_daemon() -> Iterator[Daemon]:
    """Its start is most of what a test takes."""
    with bounded_daemon() as started:
        yield started


@pytest.fixture
def daemon(shared_daemon: Daemon) -> Iterator[Daemon]:
    """It has no sessions before a test and after it."""
    yield shared_daemon
    for session in shared_daemon.get("/v1/sessions")["sessions"]:
        shared_daemon.good("DELETE", f"/v1/sessions/{session['name']}?kill=true")


class Taker:
    """A process that begins when it is told to, and ends when it is told again."""

    process: subprocess.Popen[bytes]

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def is_full(self) -> None:
        """Wait until it holds all that it wants."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"full\n"


class Agent(Taker):
    """One without calls."""

    def __init__(self, process: subprocess.Popen[bytes], session: str, runtime: Path) -> None:
        self.process, self.session, self.runtime = process, session, runtime

    def waits(self, daemon: Daemon) -> bool:
        """Whether it was told to have no more for now."""
        actions = daemon.get(f"/v1/sessions/{self.session}/actions")["actions"]
        return any(action["kind"] == "lease" for action in actions)

    def memory_wait(self, daemon: Daemon) -> Any:
        """What its session says that it waits for now."""
        return daemon.get(f"/v1/sessions/{self.session}")["memory_wait"]


class Tool(Taker):
    """A call with one process."""

    def __init__(
        self, stack: ExitStack, daemon: Daemon, session: str, code: str, **fields: Any
    ) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-I", "-S", "-c", code]
        self._daemon = daemon
        self.process = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe))
        stack.callback(self._kill)
        call = daemon.begin(session, pid=self.process.pid, **fields)
        self.id, self.leaf = str(call["id"]), str(call["cgroup"])

    def _kill(self) -> None:
        self.process.kill()
        kill = Path(self.leaf, "cgroup.kill")
        if kill.exists():
            kill.write_text("1")

    def done(self) -> list[str]:
        """What was done to it, besides giving it more."""
        actions = self._daemon.get(f"/v1/calls/{self.id}/actions")["actions"]
        return [action["kind"] for action in actions if action["kind"] not in ("grant", "lease")]

    def is_paused(self) -> bool:
        """Not, either, if it is gone."""
        try:
            return "frozen 1" in Path(self.leaf, "cgroup.events").read_text()
        except OSError:
            return False

    def is_gone(self) -> bool:
        return not Path(self.leaf).exists()

    def end(self) -> None:
        """Let it end by itself, well."""
        self.go()
        assert self.process.wait(PATIENCE_S) == 0
        self._daemon.end(self.id, exit_status=0)


@contextmanager
def tools(daemon: Daemon) -> Iterator[Callable[..., Tool]]:
    """Begins a call in a session of its own that takes so many MiB, or runs `code`."""
    with ExitStack() as stack:

        def begin(
            mib: int = 0, priority: Priority = "low", code: str = TAKE, **fields: Any
        ) -> Tool:
            name = fresh()
            daemon.open(name, priority=priority)
            return Tool(stack, daemon, name, code.replace("{mib}", str(mib)), **fields)

        yield begin


@pytest.fixture
def tool(daemon: Daemon) -> Iterator[Callable[..., Tool]]:
    """`tools` of the shared daemon."""
    with tools(daemon) as begin:
        yield begin


def killed_at_the_bound(daemon: Daemon) -> int:
    """How often the kernel had to choose whom to kill because all sessions were at their bound."""
    lines = (daemon.root / "memory.events.local").read_text().splitlines()
    return int(dict(line.split() for line in lines)["oom"])


def test_alone_nobody_is_held_back(daemon: Daemon, tool: Callable[..., Tool]) -> None:
    """A call of low priority takes three quarters of the machine and is given all of it."""
    alone = tool(300)
    alone.go()
    alone.is_full()
    assert alone.done() == []
    alone.end()
    assert killed_at_the_bound(daemon) == 0


def test_a_call_that_can_have_no_more_is_paused_and_goes_on(
    daemon: Daemon, tool: Callable[..., Tool]
) -> None:
    """It is not killed by its own creeping past its lease; it gets the room as soon as the other
    call, which came first, has ended."""
    first = tool(200)
    first.go()
    first.is_full()
    second = tool(250)
    second.go()
    until(second.is_paused, PATIENCE_S)
    assert first.done() == []
    first.end()
    second.is_full()
    assert "kill" not in second.done()
    second.end()
    assert killed_at_the_bound(daemon) == 0


def test_a_fork_bomb_is_paused_before_the_kernel_kills(
    daemon: Daemon, tool: Callable[..., Tool]
) -> None:
    """Many processes get past a lease fast; it is paused with all of them alive, and only it. On a
    machine where the daemon gets no CPU for a while one may be at its ceiling first: then the
    kernel kills it there, and nobody else, and a slower one is tried."""
    first = tool(150)
    first.go()
    first.is_full()
    for pause_s in (0, 0.01, 0.1):
        bomb = tool(code=FORKS.replace("{pause_s}", str(pause_s)))
        bomb.go()
        until(lambda: bomb.is_paused() or bomb.is_gone(), PATIENCE_S)  # noqa: B023
        if bomb.is_paused():
            break
    assert int(knob(bomb.leaf, "pids.current")) > 20
    assert "oom_kill 0" in knob(bomb.leaf, "memory.events")
    assert first.done() == []
    assert killed_at_the_bound(daemon) == 0
    first.end()


def test_a_call_that_begins_on_a_full_host_waits_paused(
    daemon: Daemon, tool: Callable[..., Tool]
) -> None:
    """Its process is in its cgroup and does not run; with room it goes on by itself."""
    first = tool(340, "high")
    first.go()
    first.is_full()
    others = [tool(2) for _ in range(4)]
    last = others[-1]
    until(last.is_paused, PATIENCE_S)
    first.end()
    for other in others:
        other.go()
        other.is_full()
        other.end()
    assert killed_at_the_bound(daemon) == 0


BURST = trace(
    [40, 40, 110, 110, 40, 40, 90, 40],
    [shell("big", 1.5, 3.4), shell("small", 5.5, 6.4)],
)
"""An agent of 40 MiB; one call of 70 MiB, one of 50."""


def replay(
    daemon: Daemon, *sessions: Priority, limit_mib: int, swap: bool = False
) -> list[tuple[str, int, int]]:
    """What became of agents that play `BURST` together: state, calls completed, calls killed."""
    played: list[tuple[Priority, Trace]] = [(priority, BURST) for priority in sessions]
    settings = Settings(
        limit_bytes=limit_mib * MIB, shape=Shape(speed=2), socket=daemon.path,
        controls=("agentcg",), wait_s=15.0, swap=swap,
    )  # fmt: skip
    (run,) = Campaign(played, settings).measure().runs
    return [(s.state, s.calls.completed, s.calls.killed) for s in run.sessions]


def test_a_contended_mix_completes(daemon: Daemon) -> None:
    """Three agents whose calls come at once and do not fit together: all of them end well."""
    assert replay(daemon, "high", "low", "low", limit_mib=290) == [("completed", 2, 0)] * 3
    assert killed_at_the_bound(daemon) == 0


def test_with_swap_a_mix_completes_in_less(daemon: Daemon) -> None:
    """On zram; what waits or is paused makes room."""
    with swap_on_zram(512 * MIB):
        played = replay(daemon, "high", "low", "low", limit_mib=260, swap=True)
        assert played == [("completed", 2, 0)] * 3


@contextmanager
def agent(daemon: Daemon, mib: int, priority: Priority = "low") -> Iterator[Agent]:
    """One in a session of its own, which takes so much itself, without any call."""
    pipe = subprocess.PIPE
    code = TAKE.replace("{mib}", str(mib))
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdin=pipe, stdout=pipe) as own:
        name = fresh()
        session = daemon.open(name, priority=priority, pids=[own.pid])
        try:
            yield Agent(own, name, Path(session["runtime"]))
        finally:
            own.kill()


def test_an_agent_that_outgrows_the_room_waits_until_there_is_some(daemon: Daemon) -> None:
    """It is held up while another agent has the memory, and neither dies; `agentcg explain` and
    its session say so. Then it gets all that it wants."""
    with agent(daemon, 330) as growing, agent(daemon, 120) as other:
        other.go()
        other.is_full()
        growing.go()
        until(lambda: growing.waits(daemon), PATIENCE_S)
        assert growing.process.poll() is None
        until(lambda: growing.memory_wait(daemon) is not None, PATIENCE_S)
        assert other.memory_wait(daemon) is None
        other.go()
        assert other.process.wait(PATIENCE_S) == 0
        growing.is_full()
        until(lambda: growing.memory_wait(daemon) is None, PATIENCE_S)
        assert killed_at_the_bound(daemon) == 0


def test_an_agent_of_high_priority_is_never_held_up(daemon: Daemon) -> None:
    """Nor is anybody while there is room."""
    with agent(daemon, 350, "high") as high, agent(daemon, 5) as low:
        assert knob(str(low.runtime), "memory.high") == "max"
        high.go()
        high.is_full()
        until(lambda: knob(str(low.runtime), "memory.high") != "max", PATIENCE_S)
        assert knob(str(high.runtime), "memory.high") == "max"
        high.go()
        assert high.process.wait(PATIENCE_S) == 0
        until(lambda: knob(str(low.runtime), "memory.high") == "max", PATIENCE_S)


def test_a_killed_daemon_leaves_nobody_held_back() -> None:
    """Nobody starts it again: what was paused goes on, with the limits of its grant."""
    with bounded_daemon() as daemon, tools(daemon) as tool:
        first, second = tool(200), tool(250)
        runtime = second.leaf.rpartition("/")[0] + "/runtime"
        for each in (first, second):
            each.go()
        until(lambda: first.is_paused() or second.is_paused(), PATIENCE_S)
        until(lambda: knob(runtime, "memory.high") != "max", PATIENCE_S)
        grant = daemon.get(f"/v1/calls/{second.id}")["grant"]
        daemon.kill()
        until(lambda: not first.is_paused() and not second.is_paused(), PATIENCE_S)
        high = grant["memory_high_bytes"] // 4096 * 4096
        until(lambda: knob(second.leaf, "memory.high") == str(high), PATIENCE_S)
        assert knob(second.leaf, "memory.max") == "max"
        until(lambda: knob(runtime, "memory.high") == "max", PATIENCE_S)


@contextmanager
def storm(daemon: Daemon) -> Iterator[Callable[[], set[str]]]:
    """A session of low priority with a call that takes all there is and a fork bomb; each begins
    again when it is killed. Tells what was done to them."""
    command = [sys.executable, "-m", "agentcg.daemon.policybench.storm", str(daemon.path), "3600"]
    with subprocess.Popen(command) as process:

        def done() -> set[str]:
            sessions = [one["name"] for one in daemon.get("/v1/sessions")["sessions"]]
            if SESSION not in sessions:
                return set()
            actions = daemon.get(f"/v1/sessions/{SESSION}/actions")["actions"]
            return {action["kind"] for action in actions}

        try:
            yield done
        finally:
            process.kill()


def test_a_storm_harms_nobody_else(daemon: Daemon) -> None:
    """The calls of an agent of high priority get what they ask for, and the agent lives on; who is
    paused and killed for it are those that take everything: by the daemon, and where that gets no
    CPU in time, by the kernel at the bound."""
    with agent(daemon, 40, "high") as high, storm(daemon) as done, ExitStack() as stack:
        high.go()
        high.is_full()
        until(lambda: "freeze" in done(), PATIENCE_S)
        for _ in range(2):
            call = Tool(stack, daemon, high.session, TAKE.replace("{mib}", "120"))
            call.go()
            call.is_full()
            assert not {"throttle", "kill"} & set(call.done())
            call.end()
        assert high.process.poll() is None
        assert "oom_kill 0" in knob(str(high.runtime.parent), "memory.events")
        assert "kill" in done()
