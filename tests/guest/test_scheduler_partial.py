# SPDX-License-Identifier: Apache-2.0
"""The partial switch: agents' tasks are the scheduler's, all others the kernel's own class's.

On a kernel without sched_ext the daemon says so, and nobody's scheduling policy is touched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.bpf.scheduler import switch
from agentcg.cgroups import Cgroup, spawn_into
from cgroup_support import own_cgroup, until
from daemon_support import Api, fresh
from partial_support import SESSIONS, agent, in_charge, is_ours, process, settle
from scheduler_support import PATIENCE_S, THERE, busy, control

MIB = 1 << 20
INTERRUPTIONS = 30  # left where it was, with some of its turn to go, was one in five
MOST_LEFT = 2  # the host may have had no time for the other CPU
GROW = "import sys; sys.stdin.readline(); kept = [bytearray(b'x' * (1 << 20)) for _ in range(40)]"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Api]:
    """In charge of agents' tasks where the kernel has sched_ext."""
    with in_charge() as api:
        yield api


def test_only_tasks_in_sessions_are_taken(daemon: Api) -> None:
    """An agent and what it forks are the scheduler's from when it is in its session; a process of
    the host beside it, what that forks, and init are the kernel's own class's."""
    with process() as host, agent(daemon) as (_, made):
        assert [is_ours(thread) for thread in made.family()] == [THERE, THERE]
        assert not any(is_ours(thread) for thread in (host.pid, *host.family(), 1))
        assert switch() == ("partial" if THERE else None)


def test_it_says_which_tasks_it_takes(daemon: Api) -> None:
    """`agentcg doctor` and `agentcg sched status`."""
    command = ["agentcg", "sched", "status"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if not THERE:
        assert control(daemon)["state"] == "off"
        assert "no sched_ext" in told
        return
    assert control(daemon)["state"] == "enforced"
    assert "partial switch" in control(daemon)["detail"]
    assert "agentcg (partial switch: of tasks with the policy SCHED_EXT)" in told


@pytest.mark.parametrize("place", ["runtime", "runtime/inner", "call"])
def test_who_comes_from_outside_is_taken(daemon: Api, place: str) -> None:
    """Moved by somebody else into the agent's cgroup (as `docker exec` does), or into one that the
    agent made in it, or placed as a call: with the threads that it has by then, and the threads
    and children that it has later. A child that was not moved is not."""
    with agent(daemon) as (name, _), process() as made:
        thread, child = made.family()
        if place == "call":
            daemon.begin(name, pid=made.pid)
        else:
            (SESSIONS / name / place).mkdir(exist_ok=True)
            (SESSIONS / name / place / "cgroup.procs").write_text(str(made.pid))
        settle(made.pid)
        settle(thread)
        assert [is_ours(thread) for thread in made.family()] == [THERE, THERE]
        assert not is_ours(child)


def test_who_is_born_in_a_session_is_taken(daemon: Api) -> None:
    """Of a process outside, by clone3(CLONE_INTO_CGROUP), as `agentcg run` starts commands."""
    with agent(daemon) as (name, _), Cgroup.open(SESSIONS / name / "runtime") as cgroup:
        born = spawn_into(cgroup.fileno(), ["sleep", "1000"], os.environ)
        try:
            settle(born)
        finally:
            os.kill(born, 9)
            os.waitpid(born, 0)


@pytest.mark.parametrize(
    ("prepare", "nice"),
    [
        ("import os; os.nice(5)\n", 5),
        ("import os; os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\n", 0),
        ("import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n", 19),
    ],
)
def test_nice_levels_are_kept(daemon: Api, prepare: str, nice: int) -> None:
    """SCHED_IDLE, for which SCHED_EXT has no place, is taken as the nicest of levels: left where it
    is it would come before all other agents."""
    with agent(daemon, prepare) as (_, made):
        assert os.getpriority(os.PRIO_PROCESS, made.pid) == (nice if THERE or nice != 19 else 0)


def test_real_time_tasks_are_left_alone(daemon: Api) -> None:
    """Whoever gave an agent real-time priority meant it."""
    with agent(daemon) as (name, _), process() as made, process() as after:
        os.sched_setscheduler(made.pid, os.SCHED_RR, os.sched_param(1))
        daemon.open(name, pids=[made.pid])
        daemon.open(name, pids=[after.pid])
        settle(after.pid)
        assert os.sched_getscheduler(made.pid) == os.SCHED_RR


def test_who_leaves_its_session_is_given_back(daemon: Api) -> None:
    """Moved out of all sessions, a process and its threads are the kernel's own class's again."""
    with own_cgroup() as elsewhere, agent(daemon) as (_, made):
        thread, child = made.family()
        elsewhere.place(made.pid)
        until(lambda: not is_ours(made.pid) and not is_ours(thread), PATIENCE_S)
        assert {os.sched_getscheduler(one) for one in (made.pid, thread)} == {os.SCHED_OTHER}
        assert is_ours(child) == THERE


def test_who_sets_itself_back_is_taken_again(daemon: Api) -> None:
    """Anybody may give up the policy, and is outside until the next look at its session."""
    with agent(daemon) as (_, made):
        os.sched_setscheduler(made.pid, os.SCHED_OTHER, os.sched_param(0))
        settle(made.pid)


def test_who_a_host_task_interrupts_goes_on_elsewhere(daemon: Api) -> None:
    """An agent that computes, on the CPU that a task of the host then takes for good, has the other
    one, which is idle, and not what is left of its own."""
    with (
        agent(daemon) as (name, _),
        Cgroup.open(SESSIONS / name / "runtime") as runtime,
        busy(runtime, 1),
        contextlib.ExitStack() as stack,
    ):
        worker = max(runtime.procs())
        settle(worker)
        hogs = [stack.enter_context(stopped_hog(cpu)) for cpu in range(2)]
        left = 0
        for _ in range(INTERRUPTIONS):
            cpu = int(Path(f"/proc/{worker}/stat").read_text().split()[38])
            left += ran_beside_ns(hogs[cpu], worker) < 30_000_000
        assert left <= MOST_LEFT


def ran_beside_ns(hog: subprocess.Popen[bytes], worker: int) -> int:
    """What the worker ran while the other had 100 ms."""
    before = ran_ns(hog.pid), ran_ns(worker)
    hog.send_signal(signal.SIGCONT)
    until(lambda: ran_ns(hog.pid) - before[0] > 100_000_000, PATIENCE_S)
    hog.send_signal(signal.SIGSTOP)
    return ran_ns(worker) - before[1]


@contextlib.contextmanager
def stopped_hog(cpu: int) -> Iterator[subprocess.Popen[bytes]]:
    """A task of the host that computes on one CPU when it is continued."""
    code = f"import os, signal\nos.sched_setaffinity(0, {{{cpu}}})\n"
    code += "os.kill(os.getpid(), signal.SIGSTOP)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code]) as child:
        try:
            os.waitpid(child.pid, os.WUNTRACED)
            yield child
        finally:
            child.kill()


def ran_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def test_memory_delay_delays_an_agent(daemon: Api) -> None:
    """A call that grows over its grant is held up where it allocates, as with the full switch."""
    name = fresh()
    daemon.open(name, priority="low")
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-S", "-c", GROW]
        tool = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
        call = daemon.begin(name, pid=tool.pid, memory_bytes=24 * MIB)
        settle(tool.pid)
        tool.communicate(b"\n", timeout=PATIENCE_S)
        account = daemon.end(call["id"], exit_status=0)["account"]
    daemon.good("DELETE", f"/v1/sessions/{name}?kill=true")
    if THERE:
        assert account["delayed"]["count"] > 0
        assert account["scheduled"]["run_us"] > 0
    else:
        assert (account["delayed"], account["scheduled"]) == (None, None)
