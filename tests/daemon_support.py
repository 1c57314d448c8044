# SPDX-License-Identifier: Apache-2.0
"""A daemon of the test's own on a cgroup of its own, asked by plain HTTP as curl would."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentcg.bpf import Accounting
from agentcg.cgroups import Cgroup
from bpf_support import mount_bpffs, pin_root
from cgroup_support import own_cgroup, until

PATIENCE_S = 300.0  # also in an emulated guest; only ever spent by a failure
NICE = -10
"""What CPUWeight=1000 of its unit comes to: clients give a daemon up that others keep from the
processors for a second."""


@dataclass(frozen=True)
class Reply:
    """Status, headers and decoded body of an answer."""

    status: int
    headers: dict[str, str]
    body: Any


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Api:
    """The socket of a daemon. `body` is sent as JSON, bytes as they are."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(
        self, method: str, target: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Reply:
        connection = _Connection(self.path)
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        try:
            connection.request(method, target, raw, headers or {})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        is_json = "json" in answer.headers.get("Content-Type", "")
        return Reply(answer.status, dict(answer.headers), json.loads(data) if is_json else data)

    def get(self, target: str) -> Any:
        """The body of a successful GET."""
        return self.good("GET", target)

    def good(self, method: str, target: str, body: object = None) -> Any:
        """The body of an answer that must be a success."""
        reply = self.ask(method, target, body)
        assert reply.status < 300, reply
        return reply.body

    def open(self, name: str, **fields: object) -> Any:
        """Open a session."""
        return self.good("POST", "/v1/sessions", {"name": name, **fields})

    def close_all(self) -> None:
        """End every session, whoever opened it."""
        for session in self.get("/v1/sessions")["sessions"]:
            self.ask("DELETE", f"/v1/sessions/{session['name']}?kill=true")

    def begin(self, session: str, **fields: object) -> Any:
        """Begin a call."""
        return self.good("POST", f"/v1/sessions/{session}/calls", {"tool": "Bash", **fields})

    def end(self, call: str, **fields: object) -> Any:
        """End a call."""
        return self.good("POST", f"/v1/calls/{call}/end", fields)

    def ask_and_leave(self, method: str, target: str, body: object) -> None:
        """Ask, and close the connection without waiting for an answer."""
        connection = _Connection(self.path)
        connection.request(method, target, json.dumps(body))
        connection.close()

    def raw(self, data: bytes) -> bytes:
        """What comes back, until the daemon closes, for bytes that need not be HTTP."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self.path))
            connection.sendall(data)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while chunk := connection.recv(65536):
                    received += chunk
            return received


class Daemon(Api):
    """agentcgd as a process that tests start, end and kill."""

    def __init__(self, root: Path, path: Path, policies: Path, *options: str) -> None:
        super().__init__(path)
        self.root = root
        self.policies = policies
        self._options = options
        self.process: subprocess.Popen[str] | None = None

    def command(self, *options: str) -> list[str]:
        return [
            sys.executable, "-m", "agentcg.daemon.main", "--root", str(self.root),
            "--socket", str(self.path), "--policies", str(self.policies),
            "--state", str(self.path.with_name("state")),
            *self._options, *options,
        ]  # fmt: skip

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command(), stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        weigh(self.process.pid, NICE)
        until(self.answers)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.process.communicate()[1]
        try:
            return bool(self.get("/v1/health")["accounting"] != "starting")
        except OSError:
            return False

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """It runs no instruction meanwhile; what is sent to it waits in the kernel."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> str:
        """SIGTERM; what it wrote to standard error. It must end well."""
        assert self.process is not None
        self.process.terminate()
        _, log = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, log
        return log

    def kill(self) -> None:
        """SIGKILL, as an OOM killer or a bug would."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def restart(self) -> None:
        self.kill()
        self.start()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)


def weigh(pid: int, nice: int) -> None:
    """Give a process and, where there are such, the autogroup of its session a weight, as far as
    this user may."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def delegate(cgroup: Cgroup) -> None:
    """Say to a service manager that it is ours, and have what there is of memory, pids and cpu
    below it."""
    os.setxattr(cgroup.path, "user.delegate", b"1")
    there = (cgroup.path / "cgroup.controllers").read_text().split()
    cgroup.enable([name for name in ("memory", "pids", "cpu") if name in there])


@contextlib.contextmanager
def own_daemon(*options: str) -> Iterator[Daemon]:
    """A running daemon whose root is removed, with everything in it, at the end."""
    options = options or ("--require", "none", "--bpf", "off")
    if "--pins" in options:
        mount_bpffs()
    with own_cgroup() as parent, tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        home.chmod(0o755)  # for peers that are not root
        (home / "policies").mkdir()
        delegate(parent)
        daemon = Daemon(parent.path / "sessions", home / "sock", home / "policies", *options)
        daemon.start()
        try:
            yield daemon
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.kill()


@contextlib.contextmanager
def daemon_with_bpf(*options: str) -> Iterator[Daemon]:
    """A daemon that has the programs attached; they are taken away at the end."""
    with pin_root() as pins:
        given = ("--require", "none", "--bpf", "on", "--pins", str(pins), *options)
        with own_daemon(*given) as running:
            yield running
        Accounting.open(str(pins)).unpin()


def fresh(prefix: str = "s") -> str:
    """A name that no other test uses."""
    return f"{prefix}-{secrets.token_hex(4)}"


def as_user(uid: int, action: Callable[[], Any], groups: tuple[int, ...] = ()) -> Any:
    """The result of `action` in a forked child that runs as `uid`."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(list(groups))
            os.setgid(uid)
            os.setuid(uid)
            os.write(writing, pickle.dumps(action()))
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(repr(error))
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return pickle.loads(data)


class Stream:
    """A reader of the stream that has seen its first line."""

    def __init__(self, daemon: Api, target: str = "/v1/events", last: str = "") -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(daemon.path))
        more = f"Last-Event-ID: {last}\r\n" if last else ""
        self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
        self._file = self._socket.makefile("rb")
        while not self._file.readline().startswith(b": agentcg "):
            pass

    def take(self, count: int, timeout_s: float = PATIENCE_S) -> list[Any]:
        """The next `count` events; fails the test if they do not come."""
        deadline = time.monotonic() + timeout_s
        found: list[Any] = []
        while len(found) < count:
            line = self._file.readline()
            assert line, "the stream ended"
            assert time.monotonic() < deadline, f"waited in vain after {found}"
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
        return found

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextlib.contextmanager
def stream(daemon: Api, target: str = "/v1/events", last: str = "") -> Iterator[Stream]:
    opened = Stream(daemon, target, last)
    try:
        yield opened
    finally:
        opened.close()
