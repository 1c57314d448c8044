# SPDX-License-Identifier: Apache-2.0
"""`agentcg run`: a command in a call, as if agentcg were not there."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from agentcg.daemon.messages import Feedback
from support.commandline import agentcg, command, environment
from support.examples import MIB, a_call, a_session, ended
from support.scripted_daemon import Received, ScriptedDaemon, problem

BEGIN = "/v1/sessions/reviewer/calls"
END = "/v1/calls/k3f9a2b7c1/end"
CALL = "/v1/calls/k3f9a2b7c1"
ROOT, USER = 0, 1000
PYTHON = sys.executable


@pytest.fixture(params=[ROOT, USER], ids=["root", "user"])
def euid(request: pytest.FixtureRequest) -> int:
    """Root's commands are placed after the call has begun, a user's with its beginning."""
    uid: int = request.param
    return uid


@pytest.fixture
def ready(daemon: ScriptedDaemon) -> ScriptedDaemon:
    """A daemon that begins, places and ends calls; the cgroup it names cannot be entered."""
    daemon.on("POST", BEGIN, a_call())
    daemon.on("PATCH", CALL, a_call())
    daemon.on("POST", END, lambda request: ended(a_call(), request.body["exit_status"] or 0))
    return daemon


def run(daemon: ScriptedDaemon, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`agentcg run --session reviewer WORDS...`."""
    return agentcg(daemon.path, "run", "--session", "reviewer", *words, **options)


def placed_pid(daemon: ScriptedDaemon) -> int | None:
    """The pid that the daemon was given to place."""
    bodies = daemon.sent("POST", BEGIN) + daemon.sent("PATCH", CALL)
    pids = [body["pid"] for body in bodies if body["pid"]]
    return pids[0] if pids else None


def test_call_around_the_command(ready: ScriptedDaemon, euid: int) -> None:
    """Begun with what was asked for, the command's process placed, ended with its status."""
    done = run(
        ready, "--memory", "256M", "--cpu", "low", "--wait", "5s", "--tool", "test", "--",
        "sh", "-c", "echo $$; exit 7", euid=euid,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (7, "")
    begun = ready.sent("POST", BEGIN)[0]
    assert begun["memory_bytes"] == 256 * MIB
    assert (begun["cpu"], begun["wait_s"], begun["tool"]) == ("low", 5.0, "test")
    assert begun["command"] == "sh -c 'echo $$; exit 7'"
    assert placed_pid(ready) == int(done.stdout)
    assert ready.sent("POST", END) == [{"exit_status": 7}]


@pytest.mark.parametrize("status", [0, 1, 126, 255])
def test_status_of_the_command(ready: ScriptedDaemon, euid: int, status: int) -> None:
    """The command's status is the status."""
    done = run(ready, "sh", "-c", f"exit {status}", euid=euid)
    assert done.returncode == status


@pytest.mark.parametrize("signal_name", ["KILL", "TERM", "SEGV"])
def test_death_by_signal(ready: ScriptedDaemon, euid: int, signal_name: str) -> None:
    """128+n, as a shell has it, to the caller and to the daemon."""
    number = getattr(signal, f"SIG{signal_name}")
    done = run(ready, "sh", "-c", f"kill -{signal_name} $$", euid=euid)
    assert done.returncode == 128 + number
    assert ready.sent("POST", END) == [{"exit_status": 128 + number}]


def test_feedback_is_told(ready: ScriptedDaemon, euid: int) -> None:
    """What is not "ok" goes to standard error, on one line and without escape sequences."""
    ready.on(
        "POST", END,
        ended(
            a_call(), 0, Feedback(code="ok", text="all well"),
            Feedback(code="over-grant", text="it needed \x1b[31m700M\nof 256M"),
        ),
    )  # fmt: skip
    done = run(ready, "true", euid=euid)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "agentcg: it needed \\x1b[31m700M\\nof 256M\n"


def test_streams_pass_through(ready: ScriptedDaemon, euid: int) -> None:
    """Standard input, output and error are the command's own, byte for byte."""
    script = "import sys; sys.stdout.write(sys.stdin.read()[::-1]); sys.stderr.write('e')"
    done = run(ready, PYTHON, "-c", script, input="abc\n" * 20000, euid=euid)
    assert done.stdout == ("abc\n" * 20000)[::-1]
    assert done.stderr == "e"


def test_descriptors_and_environment_pass_through(ready: ScriptedDaemon, euid: int) -> None:
    """Descriptors that were handed down arrive, none is added, and the environment is as it was."""
    reader, writer = os.pipe()
    script = f"""
import os
fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
fds = [fd for fd in fds if os.path.exists(f"/proc/self/fd/{{fd}}")]
os.write({writer}, repr([fds, dict(os.environ)]).encode())
"""
    words = ["run", "--session", "reviewer", "--", PYTHON, "-c", script]
    there = environment(ready.path, SOME="thing")
    done = subprocess.run(
        command(*words, euid=euid), env=there, pass_fds=[writer], timeout=60, check=False
    )
    os.close(writer)
    with os.fdopen(reader) as stream:
        fds, env = eval(stream.read())
    assert done.returncode == 0
    assert fds == [0, 1, 2, writer]
    assert {k: v for k, v in env.items() if k != "LC_CTYPE"} == {
        k: v for k, v in there.items() if k != "LC_CTYPE"
    }


def test_arguments_pass_through(ready: ScriptedDaemon, euid: int) -> None:
    """What comes after the command is the command's, agentcg's own options and odd bytes too."""
    script = "import os, sys; print([os.fsencode(a) for a in sys.argv[1:]])"
    words = ["--memory", "--help", "", "a b", "-s", "--", os.fsdecode(b"\xff")]
    done = run(ready, PYTHON, "-c", script, *words, euid=euid)
    assert eval(done.stdout) == [os.fsencode(word) for word in words]
    assert ready.sent("POST", BEGIN)[0]["command"].endswith("'' 'a b' -s -- '\\xff'")


def test_a_program_whose_name_is_not_utf8(ready: ScriptedDaemon, euid: int, tmp_path: Path) -> None:
    """It runs, and is told of with its bytes as escapes."""
    program = tmp_path / os.fsdecode(b"tool-\xff")
    program.symlink_to(shutil.which("true") or "")
    assert run(ready, str(program), euid=euid).returncode == 0
    assert ready.sent("POST", BEGIN)[0]["tool"] == "tool-\\xff"


def test_oom_score_adj_is_raised(ready: ScriptedDaemon, euid: int) -> None:
    """The kernel's choice is the call before the agent; agentcg's own score stays."""
    own = int(Path("/proc/self/oom_score_adj").read_text())
    done = run(
        ready, "sh", "-c", "cat /proc/self/oom_score_adj /proc/$PPID/oom_score_adj", euid=euid
    )
    assert [int(line) for line in done.stdout.split()] == [min(1000, own + 500), own]


def test_signals_are_as_the_caller_left_them(ready: ScriptedDaemon, euid: int) -> None:
    """None is blocked and none ignored that was not before: SIGPIPE ends a pipe's writer."""
    done = run(ready, "grep", "^Sig[BI]", "/proc/self/status", euid=euid)
    direct = subprocess.run(
        ["grep", "^Sig[BI]", "/proc/self/status"], capture_output=True, text=True, check=True
    )
    assert done.stdout == direct.stdout


def test_session_is_opened_on_demand(ready: ScriptedDaemon, euid: int) -> None:
    """If there is none of this name it is opened, and the call begun again."""
    opened = threading.Event()

    def begin(_: Received) -> Any:
        return a_call() if opened.is_set() else problem(404, "not-found", "no session reviewer")

    def open_session(request: Received) -> Any:
        opened.set()
        return a_session(request.body["name"])

    ready.on("POST", BEGIN, begin)
    ready.on("POST", "/v1/sessions", open_session)
    done = run(ready, "echo", "hi", euid=euid)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n", "")
    assert len(ready.sent("POST", BEGIN)) == 2


def test_session_from_the_environment(ready: ScriptedDaemon) -> None:
    """$AGENTCG_SESSION names the session when --session does not."""
    there = environment(ready.path, AGENTCG_SESSION="reviewer")
    done = subprocess.run(command("run", "true"), env=there, timeout=60, check=False)
    assert done.returncode == 0
    assert len(ready.sent("POST", BEGIN)) == 1


# --- The daemon is not there, slow, or refuses ---


def test_absent_daemon(tmp_path: Path, euid: int) -> None:
    """The command runs, its status is the status, and one line says that it runs without a call."""
    done = agentcg(tmp_path / "absent", "run", "sh", "-c", "echo out; exit 3", euid=euid)
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert done.stderr.startswith("agentcg: the command runs without a call: ")
    assert done.stderr.count("\n") == 1


def test_silent_daemon(tmp_path: Path, euid: int) -> None:
    """A daemon that hangs is given up, and the command runs."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        done = agentcg(tmp_path / "s", "run", "echo", "hi", euid=euid)
    assert (done.returncode, done.stdout) == (0, "hi\n")
    assert "no answer within" in done.stderr


@pytest.mark.parametrize(
    "refusal",
    [
        problem(429, "limit-exceeded", "64 calls run already"),
        problem(403, "forbidden", "session reviewer belongs to uid 0"),
        problem(500, "internal", "the daemon failed"),
        problem(422, "invalid-input", "tool: too long", field="tool"),
    ],
    ids=lambda p: p.title,
)
def test_refusal(ready: ScriptedDaemon, euid: int, refusal: Any) -> None:
    """Whatever the daemon has against it, the command runs, and the reason is told."""
    ready.on("POST", BEGIN, refusal)
    done = run(ready, "echo", "hi", euid=euid)
    assert (done.returncode, done.stdout) == (0, "hi\n")
    assert refusal.detail in done.stderr
    assert ready.sent("POST", END) == []


def test_placing_fails(ready: ScriptedDaemon) -> None:
    """If root's process cannot be placed, the empty call is ended and the command runs."""
    ready.on("PATCH", CALL, problem(409, "conflict", "call has ended"))
    done = run(ready, "echo", "hi", euid=ROOT)
    assert (done.returncode, done.stdout) == (0, "hi\n")
    assert "call has ended" in done.stderr
    assert ready.sent("POST", END) == [{"exit_status": None}]


def test_daemon_dies_during_the_command(ready: ScriptedDaemon, euid: int) -> None:
    """Output and status are the command's; that the call could not be ended is told."""
    script = "echo up; read x; echo $x; exit 4"
    process = subprocess.Popen(
        command("run", "--session", "reviewer", "sh", "-c", script, euid=euid),
        env=environment(ready.path), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"  # all that comes before it has been answered
    ready.stop()
    out, err = process.communicate("word\n", timeout=60)
    assert (process.returncode, out) == (4, "word\n")
    assert err.startswith("agentcg: the command has ended, but its call could not be: ")


def test_strict(tmp_path: Path, ready: ScriptedDaemon, euid: int) -> None:
    """With --strict nothing is executed without a call, and the status is 125."""
    mark = tmp_path / "mark"
    absent = agentcg(tmp_path / "absent", "run", "--strict", "touch", str(mark), euid=euid)
    ready.on("POST", BEGIN, problem(403, "forbidden", "not yours"))
    refused = run(ready, "--strict", "touch", str(mark), euid=euid)
    assert (absent.returncode, refused.returncode) == (125, 125)
    assert "systemctl start agentcgd" in absent.stderr
    assert "not yours" in refused.stderr
    assert not mark.exists()


def test_strict_has_patience(ready: ScriptedDaemon, euid: int) -> None:
    """Who rather waits than goes without a call is not sent away by a daemon that is busy."""

    def late(_: Received) -> Any:
        threading.Event().wait(1.5)  # longer than it may take otherwise
        return a_call()

    ready.on("POST", BEGIN, late)
    assert run(ready, "--strict", "true", euid=euid).stderr == ""
    assert len(ready.sent("POST", END)) == 1


def test_command_that_cannot_be_executed(ready: ScriptedDaemon, tmp_path: Path, euid: int) -> None:
    """127 and 126 as in a shell, with the reason, and the call is ended."""
    missing = run(ready, "no-such-program", euid=euid)
    assert missing.returncode == 127
    assert missing.stderr == "agentcg run: no-such-program: No such file or directory\n"
    refused = run(ready, str(tmp_path), euid=euid)
    assert refused.returncode == 126
    assert "Permission denied" in refused.stderr
    assert ready.sent("POST", END) == [{"exit_status": 127}, {"exit_status": 126}]


def test_nothing_is_executed_if_agentcg_dies_first(tmp_path: Path) -> None:
    """If agentcg is killed while it waits for room, the waiting child goes without a trace."""
    mark = tmp_path / "mark"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        process = subprocess.Popen(
            command("run", "--wait", "60s", "touch", str(mark), euid=USER),
            env=environment(tmp_path / "s"), stderr=subprocess.PIPE,
        )  # fmt: skip
        peer, _ = listener.accept()
        with peer:  # closed too early, it would go on without a call
            peer.recv(1)
            process.kill()
            process.communicate(timeout=60)  # ends when the child has closed standard error, too
    assert not mark.exists()
