# SPDX-License-Identifier: Apache-2.0
"""The history through the socket: it outlives the daemon, and is seen by those who may."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cgroup_support import process, until
from daemon_support import Api, Daemon, as_user, fresh, own_daemon

STRANGER = 4242


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


def state(daemon: Daemon) -> Path:
    return daemon.path.with_name("state")


def a_call(daemon: Daemon, session: str, **fields: Any) -> str:
    """The id of a call that has ended and is on disk."""
    call = daemon.begin(session, **fields)
    daemon.end(call["id"], exit_status=3)
    until(lambda: call["id"] in listed(daemon, session))
    return str(call["id"])


def listed(daemon: Api, session: str) -> list[str]:
    return [call["id"] for call in daemon.get(f"/v1/history?session={session}")["calls"]]


def health(daemon: Daemon) -> Any:
    return daemon.get("/v1/health")["history"]


def test_calls_outlive_the_daemon_and_their_session(daemon: Daemon) -> None:
    """After SIGKILL and a new start a call is there as it ended, though its session is closed;
    secrets of its command never reached the disk."""
    name = fresh()
    daemon.open(name)
    call = a_call(daemon, name, command="curl -u ada:hunter2 https://x/")
    before = daemon.get(f"/v1/calls/{call}")
    actions = daemon.get(f"/v1/calls/{call}/actions")["actions"]
    assert [action["kind"] for action in actions][:1] == ["grant"]
    daemon.good("DELETE", f"/v1/sessions/{name}?kill=true")
    daemon.restart()
    assert daemon.get(f"/v1/history?session={name}")["calls"] == [before]
    assert daemon.get(f"/v1/calls/{call}") == before
    assert daemon.get(f"/v1/calls/{call}/actions")["actions"] == actions
    assert as_user(STRANGER, lambda: Api(daemon.path).ask("GET", f"/v1/calls/{call}").status) == 404
    files = list(state(daemon).iterdir())
    assert files
    assert not any(b"hunter2" in file.read_bytes() for file in files)
    assert state(daemon).stat().st_mode & 0o777 == 0o700


def test_an_exit_status_that_comes_late_is_kept(daemon: Daemon) -> None:
    """The declared end of a call that emptied by itself reaches its record on disk."""
    name = fresh()
    daemon.open(name)
    with process() as tool:
        call = daemon.begin(name, pid=tool.pid)["id"]
    until(lambda: call in listed(daemon, name))
    daemon.end(call, exit_status=7)

    def settled() -> bool:
        (found,) = daemon.get(f"/v1/history?session={name}")["calls"]
        return bool(found["exit_status"] == 7)

    until(settled)


def test_history_is_seen_as_calls_are(daemon: Daemon) -> None:
    """By the owner of the session and by root; by nobody else."""
    name = fresh()
    as_user(STRANGER, lambda: daemon.open(name)["id"])
    call = a_call(daemon, name)
    assert as_user(STRANGER, lambda: listed(daemon, name)) == [call]
    assert as_user(STRANGER + 1, lambda: listed(daemon, name)) == []


def test_a_later_session_of_the_same_name_sees_nothing_of_it(daemon: Daemon) -> None:
    """Whoever lives in a session sees its calls, and not those of another user's earlier session
    that had its name."""
    name = fresh()
    daemon.open(name)
    a_call(daemon, name)
    daemon.good("DELETE", f"/v1/sessions/{name}?kill=true")
    session = daemon.open(name)
    mine = a_call(daemon, name)

    def from_inside() -> list[str]:
        return as_user(STRANGER, lambda: listed(daemon, name))

    assert from_inside() == []
    with in_cgroup(session["runtime"]):
        assert from_inside() == [mine]


def fill(path: Path) -> None:
    """Write to `path` until there is no room."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@contextmanager
def in_cgroup(path: str) -> Iterator[None]:
    """This process is in the cgroup meanwhile."""
    mount = daemon_mount(path)
    before = next(
        line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.startswith("0::")
    )  # fmt: skip
    Path(path, "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        Path(f"{mount}{before}", "cgroup.procs").write_text(str(os.getpid()))


def daemon_mount(path: str) -> str:
    place = Path(path)
    while not place.is_mount():
        place = place.parent
    return str(place)


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("since=soon", "since"), ("sesion=x", "sesion"), ("before=-1", "before"),
     ("category=x", "category")],
)  # fmt: skip
def test_a_wrong_question_names_its_field(daemon: Daemon, query: str, field: str) -> None:
    """A parameter that is unknown or out of range is refused with 400."""
    refused = daemon.ask("GET", f"/v1/history?{query}")
    assert (refused.status, refused.body["field"]) == (400, field)


def test_a_useless_database_is_set_aside(daemon: Daemon) -> None:
    """Damaged while the daemon was away: it starts, says so in health, and keeps calls again."""
    daemon.stop()
    (state(daemon) / "history.db").write_bytes(b"no database at all" * 1000)
    daemon.start()
    until(lambda: health(daemon)["set_aside"])
    assert "damaged" in health(daemon)["set_aside"]
    (control,) = [c for c in daemon.get("/v1/health")["controls"] if c["name"] == "history"]
    assert control["state"] == "degraded"
    name = fresh()
    daemon.open(name)
    a_call(daemon, name)
    assert list(state(daemon).glob("history.db.damaged-*"))


def test_calls_go_on_while_the_database_is_locked(daemon: Daemon) -> None:
    """Begin and end are answered as ever, and what waited is written when the lock is gone."""
    name = fresh()
    daemon.open(name)
    with closing(sqlite3.connect(state(daemon) / "history.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        call = daemon.begin(name)["id"]
        assert daemon.end(call)["state"] == "ended"
        until(lambda: health(daemon)["problem"])
        assert "locked" in health(daemon)["problem"]
        holder.execute("ROLLBACK")
    until(lambda: call in listed(daemon, name))
    until(lambda: health(daemon)["problem"] is None)


def test_calls_go_on_while_the_disk_is_full(tmp_path: Path) -> None:
    """On a file system without room calls are accounted, the problem is said, and with room
    again everything that waited is written."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", disk], check=True)
    filler = disk / "filler"
    try:
        with own_daemon("--require", "none", "--bpf", "off", "--state", str(disk)) as daemon:
            name = fresh()
            daemon.open(name)
            a_call(daemon, name)
            fill(filler)
            calls = []
            for _ in range(20):
                calls.append(daemon.begin(name)["id"])
                assert daemon.end(calls[-1])["account"]["wall_s"] >= 0
            until(lambda: health(daemon)["problem"])
            assert "make room" in health(daemon)["problem"]
            filler.unlink()
            until(lambda: set(calls) < set(listed(daemon, name)))
            assert health(daemon)["lost"] == 0
            daemon.stop()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_without_history(daemon: Daemon) -> None:
    """With --state none nothing is kept: asking says what to do, and health has no such part."""
    with own_daemon("--require", "none", "--bpf", "off", "--state", "none") as other:
        refused = other.ask("GET", "/v1/history")
        assert (refused.status, refused.body["type"]) == (503, "urn:agentcg:unavailable")
        assert "--state DIR" in refused.body["remedy"]
        assert health(other) is None
