# SPDX-License-Identifier: Apache-2.0
"""Daemons with the partial switch that come and go: what becomes of agents' tasks.

On a kernel without sched_ext nobody is taken, and agents run on all the same.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from agentcg.bpf.scheduler import Scheduler, loaded
from agentcg.cgroups import spawn_into
from agentcg.cgroups.thread_policy import SCHED_EXT, Had, give
from cgroup_support import own_cgroup, until
from daemon_support import fresh
from partial_support import agent, in_charge, is_decided, is_marked, is_ours, process, settle
from scheduler_support import PATIENCE_S, THERE, control, replug_a_cpu, times_loaded


def test_a_killed_daemon_leaves_agents_running() -> None:
    """After SIGKILL agents keep the policy and run on with the kernel's own class, and what they
    fork; the next daemon takes them again. One that stops in order gives all of them back."""
    with in_charge() as daemon, agent(daemon) as (_, made):
        kill()
        everybody = (made.pid, *made.family())
        assert [is_marked(one) for one in everybody] == [THERE] * 3
        assert not any(is_ours(one) for one in everybody)
        systemctl("start", "agentcgd")
        until(lambda: is_decided(daemon), PATIENCE_S)
        for one in everybody:
            settle(one)
        systemctl("stop", "agentcgd")
        assert not any(is_marked(one) for one in everybody)
        systemctl("start", "agentcgd")


def kill() -> None:
    """The daemon dies; nobody connects to the socket that would begin another."""
    systemctl("kill", "--signal=KILL", "agentcgd")
    until(lambda: state() == "failed" and loaded() is None, PATIENCE_S)


def state() -> str:
    words = ["systemctl", "show", "--property=ActiveState", "--value", "agentcgd"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True)


def test_another_daemon_gives_back_what_a_killed_one_left() -> None:
    """Also one without the scheduler: else agents would be the next one's that takes such tasks."""
    name = fresh()
    with process() as made:
        with in_charge() as daemon:
            daemon.open(name, pids=[made.pid])
            settle(made.pid)
            kill()
        assert is_marked(made.pid) == THERE
        with in_charge(options="--bpf off --scheduler off") as other:
            until(lambda: not is_marked(made.pid), PATIENCE_S)
            other.good("DELETE", f"/v1/sessions/{name}?kill=true")


def test_agents_are_taken_again_when_a_cpu_came_or_went() -> None:
    """The kernel takes the scheduler out for that, and it is loaded again."""
    if not THERE:
        replug_a_cpu()
        return
    with in_charge() as daemon, agent(daemon) as (_, made):
        before = times_loaded()
        replug_a_cpu()
        until(lambda: times_loaded() > before, PATIENCE_S)
        settle(made.pid)


def test_sysrq_gives_agents_back() -> None:
    """The operator's emergency exit ends it for good: nobody keeps the policy."""
    with in_charge() as daemon, agent(daemon) as (_, made):
        Path("/proc/sysrq-trigger").write_text("S")
        until(lambda: not is_marked(made.pid), PATIENCE_S)
        assert loaded() is None


def test_it_is_not_loaded_without_the_capability_to_take_tasks() -> None:
    """With the unit's own capabilities it would be in charge of nobody: doctor says what is
    missing, and agents run on with the kernel's own class."""
    with in_charge("CAP_SYS_RESOURCE") as daemon, process() as made:
        name = fresh()
        daemon.open(name, pids=[made.pid])
        found = control(daemon)
        assert found["state"] == "off"
        assert ("CAP_SYS_NICE" if THERE else "no sched_ext") in found["detail"]
        assert not is_marked(made.pid)
        assert loaded() is None
        daemon.good("DELETE", f"/v1/sessions/{name}?kill=true")


def test_the_kernel_tells_who_comes_and_who_goes() -> None:
    """Whoever is moved into a session, or born in it, and has not the policy; whoever has it and is
    moved out of all. Of real-time tasks, of moves within sessions and outside, nothing."""
    if not THERE:
        return
    with (
        own_cgroup() as sessions,
        sessions.create("a") as a,
        own_cgroup() as elsewhere,
        Scheduler.open(agents_in=sessions.id) as scheduler,
        process() as made,
        process() as urgent,
    ):
        told = scheduler.arrivals
        assert told is not None
        os.sched_setscheduler(urgent.pid, os.SCHED_RR, os.sched_param(1))
        a.place(urgent.pid)
        elsewhere.place(made.pid)
        assert told.read() == []
        a.place(made.pid)
        assert told.read() == [made.pid]
        give(made.pid, Had(SCHED_EXT, 0))
        sessions.place(made.pid)
        assert told.read() == []
        elsewhere.place(made.pid)
        assert told.read() == [made.pid]
        born = spawn_into(a.fileno(), ["sleep", "1000"], os.environ)
        os.kill(born, 9)
        os.waitpid(born, 0)
        assert told.read() == [born]
        assert told.lost() == 0
