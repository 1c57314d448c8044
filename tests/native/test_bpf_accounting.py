# SPDX-License-Identifier: Apache-2.0
"""What the accounting program counts, on the running kernel."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.bpf import Accounting, Counters, ExecEvent, ExitEvent
from bpf_support import Leaf, drain, leaf, pin_root


@pytest.fixture(scope="module")
def accounting() -> Iterator[Accounting]:
    with pin_root() as root:
        opened = Accounting.open(root)
        yield opened
        opened.unpin()


@pytest.fixture
def tracked(accounting: Accounting) -> Iterator[Leaf]:
    with leaf() as made:
        accounting.track(made.id)
        drain(accounting)
        yield made
        accounting.untrack(made.id)


def _counters(accounting: Accounting, made: Leaf) -> Counters:
    counters = accounting.counters(made.id)
    assert counters is not None
    return counters


def test_scripted_tree_is_counted_exactly(accounting: Accounting, tracked: Leaf) -> None:
    """Each fork, exec and exit of a known tree of processes is counted once."""
    tracked.python(
        "import os\n"
        "for n in range(5):\n"
        "    if os.fork() == 0:\n"
        "        if n < 3: os.execv('/bin/true', ['true'])\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "os._exit(7)\n"
    )

    counters = _counters(accounting, tracked)
    assert (counters.placed, counters.forks, counters.processes) == (1, 5, 6)
    assert (counters.execs, counters.exits, counters.threads) == (4, 6, 0)
    assert (counters.first_exit_status, counters.events_lost) == (7, 0)
    events = drain(accounting)
    assert [type(e).__name__ for e in events].count("ExecEvent") == 4
    assert [e.pid for e in events if isinstance(e, ExitEvent)] == [counters.first_pid]
    assert {e.cgroup_id for e in events} == {tracked.id}
    assert [e.time_ns for e in events] == sorted(e.time_ns for e in events)


def test_untracked_leaves_leave_no_trace(accounting: Accounting, tracked: Leaf) -> None:
    """A process in a cgroup that is not tracked makes neither counts nor events."""
    with leaf() as other:
        other.run("/bin/true")

        assert accounting.counters(other.id) is None
    assert drain(accounting) == []
    assert _counters(accounting, tracked).processes == 0


def test_cgroups_below_a_leaf_count_to_it(accounting: Accounting, tracked: Leaf) -> None:
    """Down to four levels below the leaf processes belong to it; what is deeper is not seen."""
    below = tracked
    for level in range(1, 6):
        below = below.child(f"level{level}")
        below.run("/bin/true")

    counters = _counters(accounting, tracked)
    assert (counters.execs, counters.exits) == (4, 4)
    assert counters.placed == 0  # a move below the leaf usually comes from the leaf itself


def test_nested_tracked_leaf_counts_for_itself(accounting: Accounting, tracked: Leaf) -> None:
    """Where a tracked cgroup lies below another tracked one, the nearer one has the account."""
    inner = tracked.child("inner")
    accounting.track(inner.id)
    inner.run("/bin/true")

    inner_counters = accounting.untrack(inner.id)
    assert inner_counters is not None
    assert inner_counters.execs == 1
    assert _counters(accounting, tracked).execs == 0


def test_threads_are_not_processes(accounting: Accounting, tracked: Leaf) -> None:
    """Threads are counted apart and neither their births nor their ends count as processes."""
    tracked.python(
        "import threading\n"
        "threads = [threading.Thread(target=int) for _ in range(3)]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n"
    )

    counters = _counters(accounting, tracked)
    assert (counters.threads, counters.forks, counters.exits) == (3, 0, 1)


def test_process_ends_with_its_last_thread(accounting: Accounting, tracked: Leaf) -> None:
    """A main thread that ends early does not end its process; its parent's status is ours."""
    waited = tracked.python(
        "import ctypes, threading, time\n"
        "libc = ctypes.CDLL(None)\n"
        "def late(): time.sleep(0.1); libc.syscall(60, 5)\n"
        "threading.Thread(target=late).start()\n"
        "libc.syscall(60, 3)\n"
    )

    counters = _counters(accounting, tracked)
    assert (counters.exits, counters.first_exit_status) == (1, waited)


def test_threads_that_end_together_end_one_process(accounting: Accounting, tracked: Leaf) -> None:
    """However the exits of many threads interleave, the process ends once."""
    for _ in range(20):
        tracked.python(
            "import ctypes, threading\n"
            "libc = ctypes.CDLL(None)\n"
            "gate = threading.Barrier(9)\n"
            "def end(): gate.wait(); libc.syscall(60, 0)\n"
            "for _ in range(8): threading.Thread(target=end).start()\n"
            "end()\n"
        )

    counters = _counters(accounting, tracked)
    assert (counters.exits, counters.threads) == (20, 160)


def test_exec_from_a_thread_is_no_exit(accounting: Accounting, tracked: Leaf) -> None:
    """A thread that executes a program takes over its process, which ends once, later."""
    waited = tracked.python(
        "import os, threading, time\n"
        "argv = ['sh', '-c', 'exit 4']\n"
        "threading.Thread(target=os.execv, args=('/bin/sh', argv)).start()\n"
        "time.sleep(120)\n"
    )

    counters = _counters(accounting, tracked)
    assert (counters.execs, counters.exits, counters.first_exit_status) == (2, 1, 4)
    assert waited == 4


@pytest.mark.parametrize("status", [0, 1, 126, 255])
def test_exit_status(accounting: Accounting, tracked: Leaf, status: int) -> None:
    """The status of the first process and of its event are what its parent gets."""
    waited = tracked.run("/bin/sh", "-c", f"exit {status}")

    assert _counters(accounting, tracked).first_exit_status == waited == status
    (exited,) = [e for e in drain(accounting) if isinstance(e, ExitEvent)]
    assert (exited.status, exited.signal) == (status, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_death_by_signal(accounting: Accounting, tracked: Leaf, number: signal.Signals) -> None:
    """A process that a signal ended has status 128+n, as in a shell, and the signal's number."""
    waited = tracked.run("/bin/sh", "-c", f"kill -{number.value} $$")

    assert waited == -number
    assert _counters(accounting, tracked).first_exit_status == 128 + number
    (exited,) = [e for e in drain(accounting) if isinstance(e, ExitEvent)]
    assert (exited.status, exited.signal) == (128 + number, number)


def test_killed_with_all_its_threads(accounting: Accounting, tracked: Leaf) -> None:
    """SIGKILL of a process with threads is one end, with the signal as its reason."""
    tracked.python(
        "import os, threading, time\n"
        "for _ in range(4): threading.Thread(target=time.sleep, args=(120,)).start()\n"
        "os.kill(os.getpid(), 9)\n"
    )

    counters = _counters(accounting, tracked)
    assert (counters.exits, counters.first_exit_status) == (1, 137)


def test_first_process_is_the_one_placed(accounting: Accounting, tracked: Leaf) -> None:
    """The first process stays first when it forks before it executes anything."""
    pid = os.fork()
    if pid == 0:
        tracked.enter()
        if os.fork() == 0:
            os._exit(1)
        os.wait()
        os._exit(6)
    os.waitpid(pid, 0)

    counters = _counters(accounting, tracked)
    assert (counters.first_pid, counters.first_exit_status) == (pid, 6)
    assert (counters.placed, counters.forks, counters.exits) == (1, 1, 2)


def test_first_process_that_was_there_before(accounting: Accounting) -> None:
    """Of a process placed before tracking began, its next fork or its end tells."""
    with leaf() as made, subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as process:
        (made.path / "cgroup.procs").write_text(str(process.pid))
        accounting.track(made.id)
        process.communicate(b"")

        counters = accounting.untrack(made.id)
        assert counters is not None
        assert (counters.first_pid, counters.first_exit_status) == (process.pid, 0)


def test_first_process_that_is_known(accounting: Accounting) -> None:
    """Who tracks a leaf may say which process in it is the first: that one's end is told, and no
    other's."""
    with leaf() as made, made.start("/bin/cat", stdin=subprocess.PIPE) as process:
        drain(accounting)
        accounting.track(made.id, first_pid=process.pid)
        made.run("/bin/sh", "-c", "exit 5")
        assert [e for e in drain(accounting) if isinstance(e, ExitEvent)] == []
        process.communicate(b"")

        counters = accounting.untrack(made.id)
        assert counters is not None
        assert (counters.first_pid, counters.first_exit_status) == (process.pid, 0)
        ends = [e for e in drain(accounting) if isinstance(e, ExitEvent)]
        assert [(end.pid, end.status) for end in ends] == [(process.pid, 0)]


def test_birth_in_the_leaf(accounting: Accounting, tracked: Leaf) -> None:
    """A child of clone3(CLONE_INTO_CGROUP) belongs to the leaf from birth, its parent does not."""
    pid = tracked.clone_into(status=9)

    counters = _counters(accounting, tracked)
    assert (counters.forks, counters.placed, counters.exits) == (1, 0, 1)
    assert (counters.first_pid, counters.first_exit_status) == (pid, 9)


@contextlib.contextmanager
def _v1_hierarchy(name: str, at: Path) -> Iterator[None]:
    """A named v1 hierarchy, as a rule gone afterwards.

    One that is unmounted while a removed group is still dying stays, so it is mounted and
    unmounted until the kernel has let go of it; on a busy machine that can take minutes.
    """
    mount = ["mount", "-t", "cgroup", "-o", f"none,name={name}", "cgroup", str(at)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)
        for _ in range(20):
            if f":name={name}:" not in Path("/proc/self/cgroup").read_text():
                break
            time.sleep(0.25)
            subprocess.run(mount, check=True)
            subprocess.run(["umount", str(at)], check=True)


def test_moves_in_other_hierarchies_do_not_count(
    accounting: Accounting, tracked: Leaf, tmp_path: Path
) -> None:
    """Moving a process of the leaf within a v1 hierarchy is not a placement."""
    with _v1_hierarchy(f"agentcg-test-{os.getpid()}", tmp_path):
        group = tmp_path / "group"
        group.mkdir()
        tracked.run("/bin/sh", "-c", f"echo $$ > {group}/cgroup.procs")
        group.rmdir()

    assert _counters(accounting, tracked).placed == 1


def _argv(accounting: Accounting) -> list[str]:
    return [e.argv for e in drain(accounting) if isinstance(e, ExecEvent)]


def test_command_lines_have_secrets_masked(accounting: Accounting, tracked: Leaf) -> None:
    """The event of an exec has the arguments, without the secrets in them."""
    tracked.run("/bin/echo", "--password", "hunter2", "https://joe:hunter2@host/", "plain text")

    assert _argv(accounting) == ["/bin/echo --password *** https://joe:***@host/ 'plain text'"]


def test_command_lines_of_any_bytes(accounting: Accounting, tracked: Leaf) -> None:
    """Bytes that are not UTF-8 and control characters arrive as escapes."""
    tracked.run("/bin/true", b"\xff\xfe", b"\x1b[2J\n", "ü")

    assert _argv(accounting) == ["/bin/true \\xff\\xfe \\x1b[2J\\x0a ü"]


def test_long_command_lines_are_cut(accounting: Accounting, tracked: Leaf) -> None:
    """Of a megabyte of arguments the first 256 bytes are kept, up to the last whole word."""
    tracked.run("/bin/true", *(f"argument-{n:04}" for n in range(60_000)))

    (argv,) = _argv(accounting)
    assert argv.startswith("/bin/true argument-0000 argument-0001 ")
    assert argv.endswith(" argument-0016 …")


def test_script_shows_interpreter(accounting: Accounting, tracked: Leaf, tmp_path: Path) -> None:
    """A script with #! is shown with its interpreter, as ps shows it."""
    script = tmp_path / "tool"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    tracked.run(str(script), "x")

    assert _argv(accounting) == [f"/bin/sh {script} x"]


def test_failed_exec_is_not_counted(accounting: Accounting, tracked: Leaf) -> None:
    """Only programs that really started count as executed."""
    tracked.python("import os\ntry: os.execv('/nonexistent', ['x'])\nexcept OSError: os._exit(2)\n")

    assert _counters(accounting, tracked).execs == 1


def test_the_first_commands_are_told(accounting: Accounting, tracked: Leaf) -> None:
    """However many programs a leaf executes, sixteen are told one by one; all are counted."""
    tracked.run("/bin/sh", "-c", "for n in $(/usr/bin/seq 30); do /bin/true $n; done")

    argv = _argv(accounting)
    assert (len(argv), argv[:3]) == (16, [argv[0], "/usr/bin/seq 30", "/bin/true 1"])
    assert argv[-1] == "/bin/true 14"
    assert _counters(accounting, tracked).execs == 32


def test_descriptor_is_readable_while_events_wait(accounting: Accounting, tracked: Leaf) -> None:
    """The descriptor fits an event loop: silent without events, readable until they are read."""
    assert select.select([accounting.fileno()], [], [], 0)[0] == []
    tracked.run("/bin/true")
    assert select.select([accounting.fileno()], [], [], 120)[0] == [accounting.fileno()]
    drain(accounting)
    assert select.select([accounting.fileno()], [], [], 0)[0] == []


def test_tracking_twice_goes_on_counting(accounting: Accounting, tracked: Leaf) -> None:
    """A restarted daemon tracks its leaves again and loses no count by it."""
    tracked.run("/bin/true")
    accounting.track(tracked.id)
    assert _counters(accounting, tracked).execs == 1
    assert tracked.id in accounting.tracked()


def test_untracking_gives_the_last_counters(accounting: Accounting, tracked: Leaf) -> None:
    """The last counters come with the removal; after it there are none."""
    tracked.run("/bin/true")

    last = accounting.untrack(tracked.id)
    assert last is not None
    assert last.execs == 1
    assert accounting.untrack(tracked.id) is None
    assert accounting.counters(tracked.id) is None
    assert tracked.id not in accounting.tracked()


def test_parallel_processes_are_counted_exactly(accounting: Accounting, tracked: Leaf) -> None:
    """Counts stay exact when all CPUs fork and exit at once."""
    worker = "for _ in range(100):\n    if os.fork() == 0: os._exit(0)\n    os.wait()\n"
    running = [tracked.start(sys.executable, "-S", "-c", f"import os\n{worker}") for _ in "1234"]
    for process in running:
        assert process.wait() == 0

    counters = _counters(accounting, tracked)
    assert (counters.placed, counters.forks, counters.exits) == (4, 400, 404)
    assert len(drain(accounting)) == 4 + 1
