# SPDX-License-Identifier: Apache-2.0
"""What tests of the partial switch share: the daemon that has it, agents, whose tasks are whose."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from agentcg.cgroups.thread_policy import SCHED_EXT
from cgroup_support import until
from daemon_support import Api, fresh
from scheduler_support import PATIENCE_S, THERE, control, daemon_with

SESSIONS = Path("/sys/fs/cgroup/agentcg.slice/agentcg-sessions.service/sessions")
OPTIONS = "--bpf off --scheduler auto --scheduler-tasks agents"
NOBODY = 65534
# For each line a thread and a child, which tell their numbers; until then it has neither.
FAMILY = """
import os, sys, threading, time
def tell(kind):
    os.write(1, b"%s %d\\n" % (kind, threading.get_native_id())); time.sleep(1000)
for line in sys.stdin:
    threading.Thread(target=tell, args=(b"thread",), daemon=True).start()
    if not os.fork(): tell(b"child")
"""


@contextlib.contextmanager
def in_charge(capability: str = "CAP_SYS_NICE", options: str = OPTIONS) -> Iterator[Api]:
    """The unit's daemon with the partial switch, and one more capability; what ends it does so for
    good."""
    lines = f"CapabilityBoundingSet={capability}\nRestart=no\n"
    with daemon_with(options, unit=lines) as api:
        until(lambda: is_decided(api), PATIENCE_S)
        yield api


def is_decided(api: Api) -> bool:
    """Whether the scheduler is loaded, or will not be."""
    found = control(api)
    return found["state"] != "" and "being loaded" not in found["detail"]


class Process:
    """A process that has a thread and a child when it is asked to."""

    def __init__(self, prepare: str, user: int) -> None:
        """`prepare`: code that it begins with."""
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", prepare + FAMILY],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=user,
        )  # fmt: skip
        self.pid = self._child.pid
        self._children: list[int] = []

    def family(self) -> tuple[int, int]:
        """Numbers of a thread and of a child that are new."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(b"\n")
        self._child.stdin.flush()
        told = dict(self._child.stdout.readline().split() for _ in range(2))
        thread, child = int(told[b"thread"]), int(told[b"child"])
        self._children.append(child)
        return thread, child

    def kill(self) -> None:
        """It, and its children."""
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self._child.kill()
        self._child.communicate()


@contextlib.contextmanager
def process(prepare: str = "", user: int = NOBODY) -> Iterator[Process]:
    """A process of the host."""
    made = Process(prepare, user)
    try:
        yield made
    finally:
        made.kill()


@contextlib.contextmanager
def agent(daemon: Api, prepare: str = "", user: int = NOBODY) -> Iterator[tuple[str, Process]]:
    """A session, and a process in it that is taken by now (where the kernel can)."""
    name = fresh()
    with process(prepare, user) as made:
        made.family()  # it is ready, and has done what it was to do first
        daemon.open(name, pids=[made.pid])
        settle(made.pid)
        yield name, made
    until(lambda: daemon.ask("DELETE", f"/v1/sessions/{name}?kill=true").status < 300, PATIENCE_S)


def settle(thread: int) -> None:
    """Wait until it is taken; without sched_ext nobody is."""
    if THERE:
        until(lambda: is_ours(thread), PATIENCE_S)
    assert is_ours(thread) == THERE


def is_ours(thread: int) -> bool:
    """Whether a sched_ext scheduler schedules the thread, in the kernel's own words."""
    text = Path(f"/proc/{thread}/sched").read_text()
    ours = any(line.split() == ["ext.enabled", ":", "1"] for line in text.splitlines())
    assert not ours or is_marked(thread)
    return ours


def is_marked(thread: int) -> bool:
    """Whether it has the policy, whoever schedules it."""
    return os.sched_getscheduler(thread) == SCHED_EXT
