# SPDX-License-Identifier: Apache-2.0
"""`agentcg` as installed, against the daemon that systemd runs, as root and as anybody."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from agentcg.daemon.client import Client
from agentcg.errors import Unavailable

pytestmark = pytest.mark.any_kernel(minutes=3)

POLICY = Path("/etc/agentcg/policies.d/50-cli.yaml")
MIB = 1 << 20
ROOT, SOMEBODY = 0, 4711  # no such user, no such group: only what everybody may do
NUMBERS = count()
PATIENCE_S = 300.0  # the guest is emulated; only ever spent by a failure
FINE = ("enforced", "off")  # extras are off until they are asked for, or where the kernel has none


def agentcg(*words: str, uid: int = ROOT, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed `agentcg` to its end as user `uid`."""
    return subprocess.run(
        ["agentcg", *words], capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        **identity(uid), **options,
    )  # fmt: skip


def identity(uid: int) -> dict[str, Any]:
    return {} if uid == ROOT else {"user": uid, "group": uid, "extra_groups": [], "cwd": "/"}


def until(condition: Callable[[], Any]) -> Any:
    """Wait until `condition` is true; its value."""
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < end, condition
        time.sleep(0.1)
    return value


def systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True)


@pytest.fixture(autouse=True)
def daemon() -> Iterator[Client]:
    """The daemon runs and accounts by BPF; afterwards no session is left."""
    systemctl("start", "agentcg.socket", "agentcgd")
    client = Client()
    until(lambda: answers(client))
    yield client
    for session in client.sessions():
        client.close_session(session.name, kill=True)
    client.close()


def answers(client: Client) -> bool:
    try:
        return client.health().accounting == "bpf"
    except Unavailable:
        return False


@pytest.fixture
def session() -> str:
    """A name that no test has used: ended calls of earlier ones are still listed."""
    return f"cli-{next(NUMBERS)}"


@pytest.fixture(params=[ROOT, SOMEBODY], ids=["root", "user"])
def uid(request: pytest.FixtureRequest) -> int:
    """Root's commands are born in the call; anybody's are placed by the daemon."""
    number: int = request.param
    return number


def test_run_within_its_memory(daemon: Client, uid: int, session: str) -> None:
    """A command in its grant runs without a word, and what it used is known afterwards."""
    words = ["run", "--strict", "--session", session, "--memory", "256M", "--"]
    done = agentcg(*words, "python3", "-c", "x=bytearray(100<<20)", uid=uid)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (call,) = daemon.calls(session=session)
    assert (call.state, call.exit_status, call.end_reason) == ("ended", 0, "declared")
    assert call.grant.source == "declared"
    account = call.account
    assert (account.memory_peak_bytes or 0) >= 100 * MIB
    assert (account.processes or 0) >= 1
    assert account.first_exit_status == 0
    assert any("bytearray" in executed.argv for executed in account.commands)
    assert not Path(call.cgroup).exists()


def test_command_is_in_the_call(daemon: Client, uid: int, session: str) -> None:
    """From its first instruction on the command is in the leaf, and its score is raised."""
    script = "cat /proc/self/cgroup /proc/self/oom_score_adj"
    done = agentcg("run", "--strict", "--session", session, "sh", "-c", script, uid=uid)
    (call,) = daemon.calls(session=session)
    cgroup, score = done.stdout.split()
    assert cgroup.endswith(f"/sessions/{session}/call-{call.id}")
    assert int(score) == int(Path("/proc/self/oom_score_adj").read_text()) + 500


def test_session_of_the_user(daemon: Client) -> None:
    """Without a name the session is the user's own."""
    assert agentcg("run", "--strict", "true", uid=SOMEBODY).returncode == 0
    assert agentcg("run", "--strict", "true").returncode == 0
    names = {session.name: session.uid for session in daemon.sessions()}
    assert names == {f"user-{SOMEBODY}": SOMEBODY, "user-root": ROOT}


def test_session_around_the_caller(daemon: Client, uid: int) -> None:
    """A command that runs `agentcg run` itself stays in its session."""
    inner = ["agentcg", "run", "--strict", "cat", "/proc/self/cgroup"]
    done = agentcg("run", "--strict", "--session", "outer", "--", *inner, uid=uid)
    assert (done.returncode, done.stderr) == (0, "")
    assert "/sessions/outer/call-" in done.stdout
    assert [session.name for session in daemon.sessions()] == ["outer"]


def test_session_of_somebody_else() -> None:
    """Another user's session is not entered; the command runs without a call and is told so."""
    assert agentcg("run", "--strict", "--session", "roots", "true").returncode == 0
    done = agentcg("run", "--session", "roots", "echo", "hi", uid=SOMEBODY)
    assert (done.returncode, done.stdout) == (0, "hi\n")
    assert "runs without a call" in done.stderr
    strict = agentcg("run", "--strict", "--session", "roots", "echo", "hi", uid=SOMEBODY)
    assert (strict.returncode, strict.stdout) == (125, "")
    assert agentcg("session", "show", "roots", uid=SOMEBODY).returncode == 4


@pytest.fixture
def small_calls() -> Iterator[None]:
    """A site's policy: no call has more than 64 MiB."""
    POLICY.parent.mkdir(parents=True, exist_ok=True)
    POLICY.write_text("version: 1\ncalls:\n  - memory_max: 64M\n    memory_high: max\n")
    try:
        assert agentcg("policy", "check", str(POLICY)).stdout == ""
        systemctl("reload", "agentcgd")
        yield
    finally:
        POLICY.unlink()
        systemctl("reload", "agentcgd")


def test_run_out_of_memory(daemon: Client, uid: int, small_calls: None, session: str) -> None:
    """The call dies and not its caller; the status is that of SIGKILL, and the reason is told."""
    done = agentcg(
        "run", "--strict", "--session", session, "python3", "-c", "x=bytearray(300<<20)", uid=uid
    )
    assert done.returncode == 128 + signal.SIGKILL
    assert done.stderr.startswith("agentcg: ")
    assert "64" in done.stderr
    (call,) = daemon.calls(session=session)
    assert (call.account.oom_kills or 0) >= 1
    assert " oom" in agentcg("status").stdout


def test_leftovers(daemon: Client, uid: int, session: str) -> None:
    """A call that leaves a process behind ends, says so, and is listed as lingering."""
    command = ["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo started"]
    done = agentcg("run", "--strict", "--session", session, *command, uid=uid)
    assert (done.returncode, done.stdout) == (0, "started\n")
    assert done.stderr.startswith("agentcg: ")
    (call,) = daemon.calls(session=session)
    assert (call.state, call.processes_now) == ("lingering", 1)
    assert "lingering" in agentcg("calls", uid=uid).stdout


def test_status(daemon: Client, uid: int, session: str) -> None:
    """While a command runs it stands on the page, within 80 columns, and in the JSON."""
    words = ["agentcg", "run", "--strict", "--session", session, "--tool", "Bash", "sleep", "1000"]
    with subprocess.Popen(words, **identity(uid)) as running:
        try:
            until(lambda: daemon.calls(session=session))
            (call,) = json.loads(agentcg("status", "--json", uid=uid).stdout)["calls"]
            assert (call["command"], call["state"]) == ("sleep 1000", "running")
            page = agentcg("status", uid=uid, env={**os.environ, "COLUMNS": "80"}).stdout
            assert re.search(rf"^  {call['id']} Bash: sleep 1000 .* running$", page, re.M)
            assert max(len(line) for line in page.splitlines()) <= 80
        finally:
            running.terminate()
    assert running.returncode == 128 + signal.SIGTERM


def test_doctor() -> None:
    """On a stock Debian with bcc everything holds; without the daemon only that is missing."""
    done = agentcg("doctor", "--json")
    report = json.loads(done.stdout)
    weak = [control for control in report["controls"] if control["state"] not in FINE]
    assert (done.returncode, report["daemon"], report["state"], weak) == (0, "running", "ok", [])
    systemctl("stop", "agentcgd.service", "agentcg.socket")
    absent = agentcg("doctor", "--json")
    report = json.loads(absent.stdout)
    weak = [control for control in report["controls"] if control["state"] not in FINE]
    assert (absent.returncode, report["daemon"], weak) == (3, "absent", [])
    systemctl("start", "agentcg.socket", "agentcgd")


def test_daemon_is_stopped(uid: int) -> None:
    """Commands run as without agentcg; what needs the daemon says how to start it."""
    systemctl("stop", "agentcgd.service", "agentcg.socket")
    done = agentcg("run", "sh", "-c", "echo hi; exit 7", uid=uid)
    status = agentcg("status", uid=uid)
    systemctl("start", "agentcg.socket", "agentcgd")
    assert (done.returncode, done.stdout) == (7, "hi\n")
    assert "runs without a call" in done.stderr
    assert (status.returncode, status.stdout) == (3, "")
    assert "systemctl start agentcgd" in status.stderr


def test_daemon_is_killed_under_a_command(daemon: Client, uid: int, session: str) -> None:
    """kill -9 and restart in the middle: the call is the same call, and ends as it should."""
    words = ["agentcg", "run", "--strict", "--session", session, "sh", "-c", "read x; exit 7"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, text=True, **identity(uid)) as running:
        (before,) = until(lambda: daemon.calls(session=session))
        systemctl("kill", "--signal=KILL", "agentcgd")
        until(lambda: answers(daemon))
        running.communicate("\n", timeout=PATIENCE_S)
    (after,) = daemon.calls(session=session)
    assert running.returncode == 7
    assert (after.id, after.exit_status) == (before.id, 7)


def test_events_of_a_run(uid: int, session: str) -> None:
    """The stream tells the beginning and the end of a call, from what is kept and live."""
    words = ["agentcg", "events", "--session", session, "--kept", "--json"]
    assert agentcg("run", "--strict", "--session", session, "true", uid=uid).returncode == 0
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **identity(uid)) as following:
        assert following.stdout is not None
        assert kinds_of_a_call(following.stdout) == ["call.begun", "call.ended"]
        assert agentcg("run", "--strict", "--session", session, "true", uid=uid).returncode == 0
        assert kinds_of_a_call(following.stdout) == ["call.begun", "call.ended"]
        following.terminate()


def kinds_of_a_call(lines: Iterable[str]) -> list[str]:
    """What happens to a call, up to its end."""
    kinds = []
    for line in lines:
        event = json.loads(line)
        if event["call"] is not None:
            kinds.append(event["kind"])
        if event["kind"] == "call.ended":
            break
    return kinds


def test_host_bound(daemon: Client) -> None:
    """Root may bound all sessions, others may not."""
    assert agentcg("host", "set", "--memory-max", "1G", uid=SOMEBODY).returncode == 4
    assert agentcg("host", "set", "--memory-max", "1G").returncode == 0
    root = Path(daemon.host().cgroup)
    assert (root / "memory.max").read_text().strip() == str(1 << 30)
    assert agentcg("host", "set", "--memory-max", "none").returncode == 0
