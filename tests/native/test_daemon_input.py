# SPDX-License-Identifier: Apache-2.0
"""Bad input: every one gets a problem document that names it, and nothing changes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cgroup_support import process
from daemon_support import PATIENCE_S, Daemon, as_user, fresh, own_daemon

BODY_MAX = 64 * 1024
DEAD_PID = 4194303  # the largest that can be: not in use


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


@pytest.fixture(autouse=True)
def unchanged(daemon: Daemon) -> Iterator[None]:
    """No bad input changes sessions, calls or the tree."""

    def state() -> Any:
        tree = sorted(str(path) for path in daemon.root.rglob("*") if path.is_dir())
        return tree, len(daemon.get("/v1/calls?limit=1024")["calls"])

    before = state()
    yield
    assert state() == before


def problem(daemon: Daemon, method: str, target: str, body: object = None) -> Any:
    """The problem document of an answer that must be one."""
    reply = daemon.ask(method, target, body)
    assert reply.status >= 400
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.body["status"] == reply.status
    assert reply.body["type"].startswith("urn:agentcg:")
    return reply.body


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"name": "a", "memori": 1}, "memori", "known fields are"),
        ({"name": "a", "priorty": "low"}, "priorty", "did you mean priority?"),
        ({"name": 7}, "name", "must be str"),
        ({}, "name", "required"),
        ({"name": "a", "priority": "urgent"}, "priority", "urgent"),
        ({"name": "a", "weight": 0}, "weight", ">= 1"),
        ({"name": "a", "weight": "100"}, "weight", "must be int"),
        ({"name": "a", "pids": [0]}, "pids[0]", ">= 1"),
        ({"name": "a", "labels": {"k": 1}}, "labels[...]", "must be str"),
        ({"name": "a", "labels": {"bad key": "v"}}, "key of labels", "matching regex"),
        ({"name": "a", "labels": {f"k{n}": "v" for n in range(17)}}, "labels", "<= 16"),
        ([], "body", "must be object"),
        (7, "body", "must be object"),
    ],
)
def test_wrong_fields_are_named(daemon: Daemon, body: object, field: str, words: str) -> None:
    """Unknown, missing and wrongly typed fields: which one, and what it should be."""
    found = problem(daemon, "POST", "/v1/sessions", body)
    assert (found["status"], found["field"]) == (400, field)
    assert words in f"{found['rule']} {found['remedy']}"


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "..", ".", "a.b", "-a", "a\0b", "a b", "a\n", "ä", "a" * 64, "a" * 10_000],
)
def test_names_cannot_leave_the_root(daemon: Daemon, name: str) -> None:
    """Names with slashes, dots, NUL, control characters, or too long are refused."""
    assert problem(daemon, "POST", "/v1/sessions", {"name": name})["field"] == "name"


@pytest.mark.parametrize(
    "segment", ["..", "%2e%2e", "a%2Fb", "a%00b", "a%0a", "a" * 5_000, "%ff", ""]
)
def test_names_in_the_path_are_checked_too(daemon: Daemon, segment: str) -> None:
    """The same for a name that comes in the path, percent-encoded or not."""
    assert problem(daemon, "GET", f"/v1/sessions/{segment}")["status"] in (400, 404)


@pytest.mark.parametrize(
    "size",
    [b"-1", b"0", b"1125899906842625", b"1e400", b'"1.5X"', b'"256M"', b"NaN", b"Infinity",
     b"1.5", b"true", b"null9", b"9" * 400],
)  # fmt: skip
def test_sizes_are_whole_bytes_within_bounds(daemon: Daemon, size: bytes) -> None:
    """Negative, huge, fractional, textual sizes and NaN are refused before anything is made."""
    name = "sizes"
    daemon.open(name)
    body = b'{"tool": "Bash", "memory_bytes": ' + size + b"}"
    assert problem(daemon, "POST", f"/v1/sessions/{name}/calls", body)["status"] == 400
    daemon.good("DELETE", f"/v1/sessions/{name}")


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"name": "a"', b"\xff\xfe", b'{"name": "a"} x', b'{"name": "\\ud800"}', b"[" * 60_000],
)
def test_malformed_json_is_said_with_its_position(daemon: Daemon, body: bytes) -> None:
    """What is not JSON gets 400, and where it stops being JSON if that can be said."""
    found = problem(daemon, "POST", "/v1/sessions", body)
    assert found["status"] == 400
    if body in (b'{"name": "a"} x', b"\xff\xfe"):
        assert "byte" in found["detail"]


def test_body_over_the_bound_is_refused(daemon: Daemon) -> None:
    """A body of 64 KiB is read, one byte more is not, announced or not."""
    exact = json.dumps({"name": "", "x": ""})
    exact = exact[:-2] + "x" * (BODY_MAX - len(exact)) + exact[-2:]
    assert problem(daemon, "POST", "/v1/sessions", exact.encode())["status"] == 400
    assert problem(daemon, "POST", "/v1/sessions", b" " * (BODY_MAX + 1))["status"] == 413
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b" 413 " in daemon.raw(head + chunk * 2).splitlines()[0]


def test_compressed_body_is_not_unpacked(daemon: Daemon) -> None:
    """Content-Encoding is not honoured, so that nothing small can become large."""
    reply = daemon.ask("POST", "/v1/sessions", b"\x1f\x8b", {"Content-Encoding": "gzip"})
    assert reply.status == 400


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v2/health", 404),
        ("GET", "/v1/sessions/unknown", 404),
        ("DELETE", "/v1/sessions/unknown", 404),
        ("POST", "/v1/sessions/unknown/intents", 400),
        ("GET", "/v1/calls/abcdefgh", 404),
        ("POST", "/v1/calls/abcdefgh/end", 404),
        ("GET", "/v1/calls/../host", 404),
        ("GET", "/v1/calls/ABCDEFGH", 400),
        ("PUT", "/v1/sessions", 405),
        ("POST", "/v1/health", 405),
        ("DELETE", "/v1/events", 405),
        ("GET", "/v1/calls?limit=0", 400),
        ("GET", "/v1/calls?limit=x", 400),
        ("GET", "/v1/calls?stat=running", 400),
        ("GET", "/v1/calls?state=done", 400),
        ("GET", "/v1/health?x=1", 400),
        ("DELETE", "/v1/sessions/unknown?kill=maybe", 400),
        ("GET", "/v1/calls?session=%ff", 400),
    ],
)
def test_paths_methods_and_queries(daemon: Daemon, method: str, target: str, status: int) -> None:
    """What is not there, not so, or not asked for like that."""
    assert problem(daemon, method, target)["status"] == status


def test_method_not_allowed_says_which_are(daemon: Daemon) -> None:
    """405 carries Allow."""
    reply = daemon.ask("PUT", "/v1/sessions")
    assert sorted(reply.headers["Allow"].split(", ")) == ["GET", "POST"]


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET /v1/health HTTP/9.9\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_a_problem_document(daemon: Daemon, data: bytes) -> None:
    """Even then the answer has the one form that all errors have."""
    answer = daemon.raw(data)
    assert b" 400 " in answer.splitlines()[0]
    assert b"application/problem+json" in answer


def test_pid_that_is_gone_is_refused(daemon: Daemon) -> None:
    """Neither a call nor a session is made for a process that is not there."""
    daemon.open("pids")
    with process() as ended:
        ended.kill()
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        for pid in (DEAD_PID, ended.pid):
            found = problem(daemon, "POST", "/v1/sessions/pids/calls", {"tool": "t", "pid": pid})
            assert (found["status"], found["field"]) == (400, "pid")
            problem(daemon, "POST", "/v1/sessions", {"name": fresh(), "pids": [pid]})
    daemon.good("DELETE", "/v1/sessions/pids")


def test_kernel_thread_cannot_be_placed(daemon: Daemon) -> None:
    """The kernel refuses to move its own threads; the leaf made for one is taken back."""
    daemon.open("kthread")
    found = problem(daemon, "POST", "/v1/sessions/kthread/calls", {"tool": "t", "pid": 2})
    assert (found["status"], found["field"]) == (400, "pid")
    daemon.good("DELETE", "/v1/sessions/kthread")


def test_pid_of_another_user_is_refused(daemon: Daemon) -> None:
    """A user cannot move another user's process, nor end up in another user's session."""
    name = fresh()

    def attempts() -> list[int]:
        asked = [
            daemon.ask("POST", "/v1/sessions", {"name": name, "pids": [victim]}),
            daemon.ask("POST", "/v1/sessions", {"name": "theirs", "pids": [os.getpid()]}),
            daemon.ask("POST", "/v1/sessions/theirs/calls", {"tool": "t", "pid": os.getpid()}),
        ]
        return [reply.status for reply in asked]

    daemon.open("theirs")
    with process() as other:
        victim = other.pid
        assert as_user(4242, attempts) == [403, 403, 403]
        assert str(daemon.root) not in Path(f"/proc/{victim}/cgroup").read_text()
    daemon.good("DELETE", "/v1/sessions/theirs")


@pytest.mark.parametrize("which", ["init", "daemon"])
def test_neither_init_nor_the_daemon_can_be_placed(daemon: Daemon, which: str) -> None:
    """Not even for root: closing the session with kill=true would end the host or the daemon."""
    pid = 1 if which == "init" else daemon.get("/v1/health")["pid"]
    found = problem(daemon, "POST", "/v1/sessions", {"name": fresh(), "pids": [pid]})
    assert (found["status"], found["field"]) == (400, "pid")
    assert str(daemon.root) not in Path(f"/proc/{pid}/cgroup").read_text()


def test_large_bodies_of_a_user_are_bounded(daemon: Daemon) -> None:
    """What hooks are given may be 1 MiB: of those that do not end 64 are taken, and the memory of
    the daemon is not the user's to fill. Others, and small ones, go on."""
    head = b"POST /v1/hooks/claude-code HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{"

    def flood() -> list[bytes]:
        with contextlib.ExitStack() as stack:
            links = []
            for _ in range(70):
                link = stack.enter_context(socket.socket(socket.AF_UNIX))
                link.settimeout(PATIENCE_S)
                link.connect(str(daemon.path))
                link.sendall(head % (1 << 20))
                links.append(link)
            answers = []
            for link in links[64:]:
                answers.append(link.recv(100).split()[1])
            answers.append(str(daemon.ask("POST", "/v1/hooks/x", {}).status).encode())
            return answers

    assert as_user(4303, flood) == [b"429"] * 6 + [b"204"]
    large = {"hook_event_name": "x", "error": "x" * 100_000}
    assert daemon.ask("POST", "/v1/hooks/x", large).status == 204
