# SPDX-License-Identifier: Apache-2.0
"""What tests on a real cgroup tree share: a cgroup of their own, processes in it, patience."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from agentcg.cgroups import Cgroup, find_mount


@contextlib.contextmanager
def own_cgroup() -> Iterator[Cgroup]:
    """A new cgroup directly below the mount, removed with everything in it at the end."""
    name = f"agentcg-test-{secrets.token_hex(4)}"
    with Cgroup.open(find_mount().path) as root:
        try:
            with root.create(name) as cgroup:
                yield cgroup
        finally:
            root.remove_tree(name, timeout_s=120)


@contextlib.contextmanager
def process(code: str = "import time; time.sleep(1000)") -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that runs `code`; killed and reaped at the end."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code]) as child:
        try:
            yield child
        finally:
            child.kill()


@contextlib.contextmanager
def waiting(code: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that runs `code` once it is let go, so that it can be placed first. What it
    prints can be read; killed and reaped at the end."""
    words = [sys.executable, "-I", "-S", "-c", f"import sys; sys.stdin.readline()\n{code}"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.kill()


def let_go(child: subprocess.Popen[bytes]) -> None:
    """Have it run its code."""
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.flush()


def exit_status(action: Callable[[], None]) -> int:
    """Run `action` in a forked child; its exit status, 99 if it raised, 0 if it returned."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until(condition: Callable[[], object], timeout_s: float = 120.0) -> None:
    """Wait until `condition` holds; fails the test if it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def cgroup_of(pid: int) -> str:
    """The cgroup v2 path of a process, relative to the mount."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


def spawn_same_pid(pid: int) -> int:
    """A child with the number `pid`, which must be free (clone3 with `set_tid`)."""
    numbers = (ctypes.c_int * 1)(pid)
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size,
    # tls, set_tid, set_tid_size, cgroup
    args = (ctypes.c_uint64 * 11)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0,
                                  ctypes.addressof(numbers), 1, 0)  # fmt: skip
    child = ctypes.PyDLL(None).syscall(435, args, ctypes.sizeof(args))
    if child == 0:
        while True:
            signal.pause()
    assert child == pid, f"{pid} is not free"  # -1 must never get to os.kill
    return pid
