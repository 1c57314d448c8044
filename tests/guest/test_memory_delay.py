# SPDX-License-Identifier: Apache-2.0
"""Memory delay: who allocates over a budget waits, nobody else does, and a wait ends.

On a kernel without sched_ext there is no delay to be had: `test_scheduler.py` shows what is said.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.bpf.budgets import EXPIRY_NS, MAX_DELAY_NS
from agentcg.bpf.memory_delay import MemoryDelay, absence
from agentcg.bpf.scheduler import SCHED_EXT, Scheduler
from agentcg.cgroups import Cgroup
from agentcg.errors import InvalidInput
from cgroup_support import let_go, own_cgroup, until, waiting

THERE = SCHED_EXT.is_dir()
PATIENCE_S = 300.0
MIB = 1 << 20
MS = 1_000_000
# Allocates a megabyte and writes it, again and again up to so many, a line for each.
GROW = (
    "kept = []\n"
    "for n in range({}): kept.append(bytearray(b'x' * (1 << 20))); print(n, flush=True)\n"
)
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17  # linux/ptrace.h
# One thread writes to memory, megabyte after megabyte; the other answers: it takes a byte from a
# socket, changes the mappings that they share, and gives the byte to a pipe. Between the two is
# the interpreter's lock, a futex, which nobody holds in a system call.
TWO_THREADS = """
import mmap, os, threading
def grow():
    fd, data = os.memfd_create("grown"), b"x" * (1 << 20)
    for n in range(1000): os.pwrite(fd, data, n << 20)
while byte := os.read(0, 1):
    if byte == b"g": threading.Thread(target=grow, daemon=True).start()
    mmap.mmap(-1, 1 << 20).close()
    os.write(1, byte)
os._exit(0)
"""
MEMBARRIER, MEMBARRIER_CMD_GLOBAL = 324, 1  # asm/unistd_64.h; waits for a grace period of RCU


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Scheduler | None]:
    """The scheduler in charge; None on a kernel without sched_ext."""
    if not THERE:
        yield None
        return
    assert absence() == ""
    with Scheduler.open() as scheduler:
        yield scheduler
        assert scheduler.ended() == ""


@pytest.fixture(scope="module")
def delay(scheduler: Scheduler | None) -> MemoryDelay | None:
    """The delay in force; None on a kernel without sched_ext."""
    if scheduler is None:
        return None
    assert scheduler.memory_delay is not None
    return scheduler.memory_delay


@contextlib.contextmanager
def growing(cgroup: Cgroup, mebibytes: int = 1000) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the cgroup that has begun to grow, by a megabyte a line."""
    with waiting(GROW.format(mebibytes)) as child:
        cgroup.place(child.pid)
        let_go(child)
        yield child


@contextlib.contextmanager
def budgeted(
    delay: MemoryDelay, soft_bytes: int, delay_ns: int, priority: str = "low"
) -> Iterator[Cgroup]:
    """A cgroup that waits so long for every batch over its budget."""
    with own_cgroup() as cgroup:
        delay.set(cgroup.id, soft_bytes, 0, priority, delay_ns)
        try:
            yield cgroup
        finally:
            delay.clear(cgroup.id)


def counted(delay: MemoryDelay, cgroup: Cgroup) -> int:
    found = delay.delays(cgroup.id)
    assert found is not None
    return found.count


def test_over_its_budget_a_task_waits_each_time(delay: MemoryDelay | None) -> None:
    """Below the budget nothing happens; above it each wait lets no more than a batch through, is
    as long as was asked, and is in the account with its overshoot."""
    if delay is None:
        return

    def waited_ns() -> int:
        account = delay.delays(cgroup.id)
        return 0 if account is None else account.total_ns

    with budgeted(delay, 32 * MIB, 50 * MS) as cgroup, growing(cgroup) as child:
        until(lambda: counted(delay, cgroup) >= 4 and waited_ns() >= 120 * MS, PATIENCE_S)
        child.kill()
        account = delay.delays(cgroup.id)
        assert account is not None
        assert account.longest_ns >= 40 * MS  # until it is off the CPU is part of the 50
        assert 0 < account.overshoot_bytes < 16 * MIB


def test_the_overshoot_is_what_a_call_charged_until_it_could_be_stopped(
    delay: MemoryDelay | None,
) -> None:
    """One system call that charges a lot is not interrupted, but it is all in the account; and what
    a task waited for a CPU meanwhile is no more than the time until it was off it."""
    if delay is None:
        return
    code = (
        "import os, sys; data = b'x' * (16 << 20); fd = os.memfd_create('x'); print(flush=True)\n"
        "sys.stdin.readline(); os.pwrite(fd, data, 0)\n"
    )
    with (
        own_cgroup() as cgroup,
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as child,
    ):  # fmt: skip
        cgroup.place(child.pid)
        assert child.stdout is not None
        child.stdout.readline()
        held_bytes = int((cgroup.path / "memory.current").read_text())
        delay.set(cgroup.id, held_bytes + 2 * MIB, 0, "low", 200 * MS)  # not over before it began
        delay.trace(cgroup.id, True)
        child.communicate(b"\n", timeout=PATIENCE_S)
        until(lambda: counted(delay, cgroup) >= 1, PATIENCE_S)
        events = [one for one in delay.events() if one.cgroup_id == cgroup.id]
        account = delay.clear(cgroup.id)
        assert account is not None
        assert account.overshoot_bytes >= 12 * MIB
        assert all(one.waited_ns <= one.stopped_ns - one.noticed_ns for one in events)


def test_a_parents_budget_counts(delay: MemoryDelay | None) -> None:
    """A session's budget holds for what its calls charge."""
    if delay is None:
        return
    with budgeted(delay, 16 * MIB, 20 * MS) as parent:
        parent.enable(["memory"])
        with parent.create("call") as call, growing(call):
            until(lambda: counted(delay, parent) >= 2, PATIENCE_S)


@pytest.mark.parametrize("end", ["kill", "clear", "freeze", "trace"])
def test_a_wait_ends_early(delay: MemoryDelay | None, end: str) -> None:
    """Killed, freed of its budget, frozen or traced, a task does not sit out its two seconds."""
    if delay is None:
        return
    with budgeted(delay, 8 * MIB, MAX_DELAY_NS) as cgroup, growing(cgroup) as child:
        until(lambda: is_waiting(delay, cgroup, child), PATIENCE_S)
        if end == "kill":
            child.send_signal(signal.SIGKILL)
            child.wait(timeout=PATIENCE_S)
        elif end == "clear":
            delay.set(cgroup.id, 1 << 40, 0, "low")
        elif end == "trace":
            stop_by_ptrace(child.pid)
        else:
            (cgroup.path / "cgroup.freeze").write_text("1")
            until(lambda: "frozen 1" in (cgroup.path / "cgroup.events").read_text(), PATIENCE_S)
            (cgroup.path / "cgroup.freeze").write_text("0")
        until(lambda: counted(delay, cgroup) >= 1, PATIENCE_S)
        account = delay.delays(cgroup.id)
        assert account is not None
        assert account.longest_ns < MAX_DELAY_NS


def stop_by_ptrace(pid: int) -> None:
    """As a debugger attaches; it goes on at the end."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        assert ptrace(request, pid, None, None) == 0, os.strerror(ctypes.get_errno())
    assert os.WIFSTOPPED(os.waitpid(pid, 0)[1])
    assert ptrace(PTRACE_DETACH, pid, None, None) == 0


def is_waiting(delay: MemoryDelay, cgroup: Cgroup, child: subprocess.Popen[bytes]) -> bool:
    """It is over its budget, and no CPU time goes into it any more."""

    def used() -> int:
        return int((cgroup.path / "cpu.stat").read_text().split()[1])

    if int((cgroup.path / "memory.current").read_text()) <= 8 * MIB:
        return False
    before = used()
    time.sleep(0.1)
    return used() == before


def test_who_is_delayed_does_not_compete(
    scheduler: Scheduler | None, delay: MemoryDelay | None
) -> None:
    """While it waits its cgroup is none that wants a CPU, as if it slept: others have its part, and
    it has no claim to that afterwards."""
    if scheduler is None or delay is None:
        return
    with budgeted(delay, 8 * MIB, MAX_DELAY_NS) as cgroup, growing(cgroup):
        slot = scheduler._slots.get(cgroup.id)
        assert slot is not None

        def competing() -> int:
            node = scheduler._nodes.get(int(slot.value))
            assert node is not None
            return int(node.active)

        def held_up() -> bool:
            delay.heartbeat()  # or the budget expires, and the child grows until it ends
            return int((cgroup.path / "memory.current").read_text()) > 8 * MIB

        until(lambda: held_up() and competing() == 0, PATIENCE_S)


def test_nobody_else_waits(delay: MemoryDelay | None, tmp_path: Path) -> None:
    """While a task is held up in the middle of a write to a file, others write to that file, and
    grace periods of RCU end."""
    if delay is None:
        return
    with Path("/dev/shm/agentcg-shared").open("wb") as shared:
        code = (
            "import os; f = os.open('/dev/shm/agentcg-shared', 1)\n"
            "for n in range(1000): os.pwrite(f, b'x' * (1 << 20), n << 20)\n"
        )
        with (
            budgeted(delay, 8 * MIB, MAX_DELAY_NS) as cgroup,
            waiting(code) as child,
        ):
            cgroup.place(child.pid)
            let_go(child)
            until(lambda: is_waiting(delay, cgroup, child), PATIENCE_S)
            started_s = time.monotonic()
            for _ in range(20):
                os.pwrite(shared.fileno(), b"y" * 4096, 0)
            assert ctypes.CDLL(None).syscall(MEMBARRIER, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0
            assert time.monotonic() - started_s < 5 * MAX_DELAY_NS / 1e9  # of twenty
            child.kill()
    Path("/dev/shm/agentcg-shared").unlink()


def test_other_threads_of_its_process_go_on(delay: MemoryDelay | None) -> None:
    """While one thread is held up, another of the same process gets on: by a socket, a pipe, locks,
    and changes of the memory that both have mapped."""
    if delay is None:
        return
    asking, asked = socket.socketpair()
    words = [sys.executable, "-I", "-S", "-c", TWO_THREADS]
    with (
        asking,
        asked,
        budgeted(delay, 8 * MIB, MAX_DELAY_NS) as cgroup,
        subprocess.Popen(words, stdin=asked, stdout=subprocess.PIPE) as child,
    ):

        def answer(byte: bytes) -> None:
            assert child.stdout is not None
            asking.send(byte)
            assert os.read(child.stdout.fileno(), 1) == byte

        try:
            cgroup.place(child.pid)
            answer(b"g")
            until(lambda: is_waiting(delay, cgroup, child), PATIENCE_S)
            started_s = time.monotonic()
            for _ in range(20):
                answer(b"x")
            assert time.monotonic() - started_s < 5 * MAX_DELAY_NS / 1e9  # of twenty
        finally:
            child.kill()


def test_a_budget_may_be_below_what_is_held(delay: MemoryDelay | None) -> None:
    """What a cgroup has stays as it is; it waits for the next that it charges, by all that it is
    over by then."""
    if delay is None:
        return
    with own_cgroup() as cgroup, growing(cgroup) as child:
        assert child.stdout is not None
        for _ in range(32):
            child.stdout.readline()
        delay.set(cgroup.id, 8 * MIB, 0, "low", 20 * MS)
        until(lambda: counted(delay, cgroup) >= 1, PATIENCE_S)
        account = delay.clear(cgroup.id)
        assert account is not None
        assert account.overshoot_bytes > 16 * MIB


def test_without_a_heartbeat_budgets_expire(delay: MemoryDelay | None) -> None:
    """A daemon that hangs holds nobody up for longer than ten seconds."""
    if delay is None:
        return
    with budgeted(delay, 8 * MIB, 100 * MS) as cgroup:
        time.sleep(EXPIRY_NS / 1e9)
        with growing(cgroup, 64) as child:
            child.communicate(timeout=PATIENCE_S)
        assert counted(delay, cgroup) == 0


def test_a_heartbeat_that_is_newer_than_now_counts(
    delay: MemoryDelay | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come from another CPU after a program has read the clock: nothing expires by that."""
    if delay is None:
        return
    with budgeted(delay, 8 * MIB, 20 * MS) as cgroup:
        ahead_ns = time.monotonic_ns() + 3600 * 1000 * MS
        with monkeypatch.context() as patched:
            patched.setattr("agentcg.bpf.budgets.time.monotonic_ns", lambda: ahead_ns)
            delay.heartbeat()
        with growing(cgroup):
            until(lambda: counted(delay, cgroup) >= 1, PATIENCE_S)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("soft_bytes", 0), ("hard_bytes", -1), ("priority", "urgent"), ("max_delay_ns", -1)],
)
def test_values_that_make_no_sense_are_refused(
    delay: MemoryDelay | None, field: str, wrong: object
) -> None:
    """The field and the rule are named, and no budget is set."""
    if delay is None:
        return
    values = {"soft_bytes": MIB, "hard_bytes": 0, "priority": "low", "max_delay_ns": MS}
    with pytest.raises(InvalidInput, match=field):
        delay.set(1 << 40, **{**values, field: wrong})  # type: ignore[arg-type]
    assert delay.delays(1 << 40) is None
