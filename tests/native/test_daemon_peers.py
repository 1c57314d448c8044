# SPDX-License-Identifier: Apache-2.0
"""Who may do what: decided by the credentials that the kernel attests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentcg.daemon.service.host.peers import cgroup_of
from cgroup_support import own_cgroup, process
from daemon_support import Daemon, as_user, fresh, own_daemon

ALICE, BOB = 4301, 4302
CLONE_NEWUSER, PR_SET_DUMPABLE = 0x10000000, 4  # linux/sched.h, linux/prctl.h


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


def statuses(daemon: Daemon, *asked: tuple[str, str, object]) -> list[int]:
    return [daemon.ask(*one).status for one in asked]


def test_owner_does_everything_with_the_session(daemon: Daemon) -> None:
    """A user needs no rights but that of having opened the session."""
    name = fresh()

    def life() -> list[Any]:
        session = daemon.open(name)
        call = daemon.begin(name, pid=os.getpid())
        mine = Path("/proc/self/cgroup").read_text()
        ended = daemon.end(call["id"])
        closed = daemon.ask("DELETE", f"/v1/sessions/{name}").status
        return [session["uid"], call["id"] in mine, ended["state"], closed]

    assert as_user(ALICE, life) == [ALICE, True, "lingering", 409]
    assert daemon.ask("DELETE", f"/v1/sessions/{name}").status == 204


def test_another_user_neither_acts_nor_sees(daemon: Daemon) -> None:
    """Others get 403 on the session and its calls, and do not find them in lists."""
    name = fresh()
    as_user(ALICE, lambda: daemon.open(name))
    call = as_user(ALICE, lambda: daemon.begin(name, command="secret"))["id"]

    def attempts() -> list[int]:
        return statuses(
            daemon,
            ("GET", f"/v1/sessions/{name}", None),
            ("DELETE", f"/v1/sessions/{name}?kill=true", None),
            ("POST", f"/v1/sessions/{name}/calls", {"tool": "t"}),
            ("POST", f"/v1/sessions/{name}/intents", {"kind": "idle"}),
            ("GET", f"/v1/sessions/{name}/intents", None),
            ("GET", f"/v1/sessions/{name}/calls", None),
            ("GET", f"/v1/calls/{call}", None),
            ("PATCH", f"/v1/calls/{call}", {"cpu": "high"}),
            ("POST", f"/v1/calls/{call}/end", {}),
            ("GET", f"/v1/events?session={name}", None),
            ("PATCH", "/v1/host", {"memory_max_bytes": 1 << 30}),
        )

    def seen() -> list[Any]:
        return [daemon.get("/v1/sessions")["sessions"], daemon.get("/v1/calls")["calls"]]

    assert as_user(BOB, attempts) == [403] * 11
    assert as_user(BOB, seen) == [[], []]
    assert daemon.get(f"/v1/calls/{call}")["state"] == "running"


def test_root_of_a_user_namespace_is_the_user_outside(daemon: Daemon) -> None:
    """The kernel reports the uid as the daemon's namespace has it: no root of a container's own."""
    name = fresh()

    def inside() -> list[Any]:
        libc = ctypes.CDLL(None)
        assert libc.prctl(PR_SET_DUMPABLE, 1) == 0  # it was root: else its files in /proc are, too
        assert libc.unshare(CLONE_NEWUSER) == 0
        Path("/proc/self/uid_map").write_text(f"0 {ALICE} 1")
        assert os.getuid() == 0
        bound = daemon.ask("PATCH", "/v1/host", {"memory_max_bytes": 1 << 30}).status
        return [daemon.open(name)["uid"], bound]

    assert as_user(ALICE, inside) == [ALICE, 403]


def test_process_inside_the_session_may_act_on_it(daemon: Daemon) -> None:
    """An agent that runs under another uid than who opened its session is known by its cgroup."""
    inside, outside = daemon.open(fresh()), daemon.open(fresh())

    def attempts() -> list[int]:
        return statuses(
            daemon,
            ("POST", f"/v1/sessions/{inside['name']}/calls", {"tool": "t"}),
            ("POST", f"/v1/sessions/{outside['name']}/calls", {"tool": "t"}),
        )

    def enter() -> Any:
        (Path(inside["runtime"]) / "cgroup.procs").write_text("0")
        return as_user(BOB, attempts)

    assert as_user(0, enter) == [201, 403]


def test_session_of_a_like_name_is_another_session(daemon: Daemon) -> None:
    """Living in `a` gives no rights on `a-2`, whose path begins the same."""
    name = fresh()
    home, other = daemon.open(name), daemon.open(f"{name}-2")

    def enter() -> Any:
        (Path(home["runtime"]) / "cgroup.procs").write_text("0")
        return as_user(BOB, lambda: daemon.ask("GET", f"/v1/sessions/{other['name']}").status)

    assert as_user(0, enter) == 403


def test_nobody_opens_another_user_s_own_session(daemon: Daemon) -> None:
    """Else whoever came first would own the session that the other's commands run in."""

    def names() -> list[int]:
        wanted = (f"user-{ALICE}", f"user-{BOB}", "user-root", "user-", "user-x")
        return [daemon.ask("POST", "/v1/sessions", {"name": name}).status for name in wanted]

    assert as_user(ALICE, names) == [201, 403, 403, 403, 403]
    assert daemon.ask("POST", "/v1/sessions", {"name": f"user-{BOB}"}).status == 403
    assert daemon.ask("POST", "/v1/sessions", {"name": "user-root"}).status == 201


def test_connections_wait_while_descriptors_are_short() -> None:
    """Nothing is refused or logged over and over; whoever waits is served when there are some."""
    with own_daemon() as daemon, contextlib.ExitStack() as stack:
        assert daemon.process is not None
        used = len([*Path(f"/proc/{daemon.process.pid}/fd").iterdir()])
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (used + 8, used + 8))
        for _ in range(100):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(daemon.path))
        connection.settimeout(1.0)
        connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        stack.close()
        assert daemon.get("/v1/health")["pid"] == daemon.process.pid
        assert daemon.stop().count("new connections have to wait") == 1


def test_cgroup_with_a_name_that_is_no_text() -> None:
    """Users name cgroups of theirs as they like: the daemon reads all of them."""
    with own_cgroup() as cgroup, process() as child:
        odd = os.fsencode(cgroup.path) + b"/\xff"
        os.mkdir(odd)  # noqa: PTH102 - a name that is no text
        (Path(os.fsdecode(odd)) / "cgroup.procs").write_text(str(child.pid))
        assert cgroup_of(child.pid, "") == f"/{cgroup.path.name}/\\xff"
        child.kill()
        child.wait()
        os.rmdir(odd)  # noqa: PTH106
