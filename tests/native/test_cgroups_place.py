# SPDX-License-Identifier: Apache-2.0
"""The four ways into a cgroup, on the real kernel."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.cgroups import Cgroup, find_mount, fork_into, spawn_into
from agentcg.errors import CgroupError, CgroupGone, InvalidInput, SpawnError
from cgroup_support import (
    cgroup_of,
    exit_status,
    own_cgroup,
    process,
    spawn_same_pid,
    until,
)

ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def top() -> Iterator[Cgroup]:
    """A cgroup of this test alone."""
    with own_cgroup() as cgroup:
        yield cgroup


def path_in_tree(cgroup: Cgroup) -> str:
    """What /proc/PID/cgroup says of a process in `cgroup`."""
    return f"/{cgroup.path.relative_to(find_mount().path)}"


def output_of(cgroup: Cgroup, *argv: str, **options: object) -> tuple[int, str]:
    """Exit status and standard output of a program started in `cgroup`."""
    read_fd, write_fd = os.pipe()
    pid = spawn_into(cgroup.fileno(), argv, ENV, stdio=(0, write_fd, 2), **options)  # type: ignore[arg-type]
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def test_by_number(top: Cgroup) -> None:
    """The daemon's way for a process it did not start."""
    with process() as child:
        top.place(child.pid)
        assert top.procs() == [child.pid]
        assert cgroup_of(child.pid) == path_in_tree(top)


def test_by_number_of_one_that_ended(top: Cgroup) -> None:
    """A number that no process has says that the process ended."""
    with process() as child:
        child.kill()
        child.wait()
        with pytest.raises(CgroupError, match="has ended") as caught:
            top.place(child.pid)
        assert caught.value.errno == errno.ESRCH


def test_by_pidfd(top: Cgroup) -> None:
    """A descriptor of the process instead of its number."""
    with process() as child:
        pidfd = os.pidfd_open(child.pid)
        top.place_pidfd(pidfd)
        assert top.procs() == [child.pid]
        child.kill()
        child.wait()
        with pytest.raises(CgroupError, match="has ended"):
            top.place_pidfd(pidfd)
        os.close(pidfd)


def test_by_pidfd_a_reused_number_is_not_taken(top: Cgroup) -> None:
    """Another process that got the same number meanwhile stays where it is."""
    with process() as child:
        pidfd = os.pidfd_open(child.pid)
    other = spawn_same_pid(child.pid)
    try:
        assert other == child.pid
        with pytest.raises(CgroupError, match="has ended"):
            top.place_pidfd(pidfd)
        assert top.procs() == []
    finally:
        os.close(pidfd)
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def test_by_pidfd_a_number_reused_in_between_is_told(
    top: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the process ends between look-up and write, success is not claimed."""
    with process() as child, process() as other:
        pidfd = os.pidfd_open(child.pid)
        child.kill()
        child.wait()
        monkeypatch.setattr("agentcg.cgroups.cgroup.pid_of", lambda _: other.pid)
        with pytest.raises(CgroupError, match="the wrong one was moved"):
            top.place_pidfd(pidfd)
        os.close(pidfd)


def test_something_else_than_a_pidfd(top: Cgroup) -> None:
    """Any other descriptor is refused before anything is written."""
    with pytest.raises(InvalidInput, match="pidfd"):
        top.place_pidfd(top.fileno())
    assert top.procs() == []


def test_by_a_descriptor_handed_out_to_a_process_without_rights(top: Cgroup) -> None:
    """The kernel checks who opened the descriptor, so that its holder may place itself."""
    with top.create("leaf") as leaf:
        fd = leaf.procs_fd()

        def place_itself() -> None:
            os.setgroups([])
            os.setuid(65534)
            os.write(fd, b"0")
            assert cgroup_of(os.getpid()) == path_in_tree(leaf)

        assert exit_status(place_itself) == 0
        os.close(fd)


def test_at_birth(top: Cgroup) -> None:
    """fork_into is fork, with the child in the cgroup from its first instruction."""
    pid = fork_into(top.fileno())
    if pid == 0:
        status = 1
        try:
            # The interpreter works in the child: imports, threads, garbage, subprocesses.
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()
            subprocess.run(["true"], check=True)
            status = 0 if cgroup_of(os.getpid()) == path_in_tree(top) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_at_birth_into_a_cgroup_that_is_gone(top: Cgroup) -> None:
    """No child is left behind, and the error is the one of a removed cgroup."""
    with top.create("leaf") as leaf:
        top.remove("leaf")
        with pytest.raises(CgroupGone):
            fork_into(leaf.fileno())
        with pytest.raises(CgroupGone):
            spawn_into(leaf.fileno(), ["true"], ENV)


def test_a_process_with_threads_may_not_fork_into(top: Cgroup) -> None:
    """Locks of another thread would stay locked in the child, so this is refused."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        with pytest.raises(CgroupError, match="several threads"):
            fork_into(top.fileno())
    finally:
        release.set()
        thread.join()
    assert top.procs() == []


def test_a_program_is_in_its_cgroup_from_the_start(top: Cgroup) -> None:
    """The program and what it starts see the new cgroup at once."""
    status, text = output_of(top, "sh", "-c", "cat /proc/self/cgroup; exit 7")
    assert status == 7
    assert f"0::{path_in_tree(top)}\n" in text


def test_a_program_that_does_not_exist(top: Cgroup) -> None:
    """exec's own reason reaches the caller, and no process is left."""
    with pytest.raises(SpawnError, match=r"no-such-program.*ENOENT") as caught:
        spawn_into(top.fileno(), ["no-such-program"], ENV)
    assert (caught.value.errno, caught.value.stage) == (errno.ENOENT, "exec")
    until(lambda: not top.events().populated)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize(
    ("options", "stage"),
    [
        ({"cwd": "/no/such"}, "change to directory /no/such"),
        ({"stdio": (0, 999, 2)}, "descriptors"),
    ],
)
def test_a_step_before_exec_that_fails(top: Cgroup, options: dict[str, object], stage: str) -> None:
    """The error names the step."""
    with pytest.raises(SpawnError) as caught:
        spawn_into(top.fileno(), ["true"], ENV, **options)  # type: ignore[arg-type]
    assert caught.value.stage == stage


@pytest.mark.parametrize(
    ("argv", "oom_score_adj"), [([], None), (["a\0b"], None), (["true"], 1001)]
)
def test_a_request_that_makes_no_sense(
    top: Cgroup, argv: list[str], oom_score_adj: int | None
) -> None:
    """It is refused before anything is started."""
    with pytest.raises(InvalidInput):
        spawn_into(top.fileno(), argv, ENV, oom_score_adj=oom_score_adj)
    assert not top.events().populated


def test_what_a_program_can_be_given(top: Cgroup, tmp_path: Path) -> None:
    """OOM score, session, directory and environment are set before it runs."""
    code = "cat /proc/self/oom_score_adj; pwd; ps -o sid= -p $$; echo $$; env"
    status, text = output_of(
        top, "sh", "-c", code, oom_score_adj=321, new_session=True, cwd=tmp_path
    )
    score, directory, session, own, *_ = text.split()
    assert (status, score, directory) == (0, "321", str(tmp_path))
    assert session == own
    assert f"PATH={ENV['PATH']}" in text
    assert "HOME=" not in text


def test_a_program_inherits_only_what_it_is_given(top: Cgroup) -> None:
    """Descriptors beyond 0, 1, 2 and those passed are closed, inheritable or not."""
    stray = os.open("/dev/null", os.O_RDONLY)
    passed = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(stray, True)
    status, text = output_of(top, "sh", "-c", "ls -l /proc/$$/fd", pass_fds=[passed])
    os.close(stray)
    os.close(passed)
    names = [line.split(" -> ")[0].split()[-1] for line in text.splitlines() if " -> " in line]
    assert status == 0
    assert sorted(map(int, names)) == [0, 1, 2, passed]


def test_standard_streams_can_be_swapped(top: Cgroup) -> None:
    """Each may be any descriptor, including another of the three."""
    read_fd, write_fd = os.pipe()
    argv = ["sh", "-c", "echo out; echo err >&2"]
    pid = spawn_into(top.fileno(), argv, ENV, stdio=(0, write_fd, write_fd))
    os.waitpid(pid, 0)
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        assert pipe.read() == "out\nerr\n"


def test_signals_have_their_usual_effect_in_a_program(top: Cgroup) -> None:
    """Python ignores SIGPIPE; a program must not."""
    status, text = output_of(top, sys.executable, "-ISc",
                             "print(open('/proc/self/status').read())")  # fmt: skip
    assert status == 0
    _, text = output_of(top, "grep", "SigIgn", "/proc/self/status")
    assert int(text.split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0


def test_an_exec_that_never_comes_is_given_up(top: Cgroup) -> None:
    """In a frozen cgroup a child cannot exec; it is killed and the caller is told."""
    top.freeze(True)
    with pytest.raises(SpawnError, match="timed out"):
        spawn_into(top.fileno(), ["true"], ENV, timeout_s=0.2)
    top.freeze(False)
    assert top.wait_empty(120)
