# SPDX-License-Identifier: Apache-2.0
"""The shell for clients without hooks: the same as the real one, but in a call."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentcg import native
from cgroup_support import until
from daemon_support import PATIENCE_S, Daemon, fresh, own_daemon

REAL = "/bin/bash"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # for users who are not root
        yield native.build(Path(directory), "agentcg-shell")


@pytest.fixture(scope="module")
def bash(program: Path) -> str:
    """A `bash` for the front of PATH."""
    link = program.parent / "front/bash"
    link.parent.mkdir()
    link.symlink_to(program)
    return str(link)


@pytest.fixture
def session(daemon: Daemon) -> Iterator[str]:
    name = fresh()
    daemon.open(name)
    yield name
    daemon.ask("DELETE", f"/v1/sessions/{name}?kill=true")


def environment(daemon: Daemon, session: str, **more: str) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin", "AGENTCG_SOCKET": str(daemon.path), "AGENTCG_SESSION": session,
        **more,
    }  # fmt: skip


def outcome(words: list[Any], env: dict[str, str], **options: Any) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        words, env=env, capture_output=True, timeout=PATIENCE_S, check=False,
        **{"input": b"one\ntwo\n", **options},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def calls(daemon: Daemon, session: str) -> list[Any]:
    found: list[Any] = daemon.get(f"/v1/calls?session={session}")["calls"]
    return found


LINES: list[list[Any]] = [
    ["-c", "exit 3"],
    ["-c", 'echo "$0|$1|$2"', "zero", "a b", 'it\'s "quoted" \\ $x `y`\n*'],
    ["-c", "printf '%s\\n' 'ä' \"it's\" \"$(echo '\"' | cat)\"; cat"],
    [b"-c", b"printf %s '\xff\xfe\x80' | od -c"],
    ["-c", "kill -9 $$"],
    ["-c", "kill -TERM $$"],
    ["-c", "trap 'echo got; exit 7' TERM; kill -TERM $$; sleep 5"],
    ["-c", "nosuchcommand"],
    ["-c", "echo out; echo err >&2; exit 255"],
    ["-c", "if"],
    ["-c"],
    ["-lc", "shopt -q login_shell; echo $?"],
    ["-ec", "false; echo never"],
    ["-o", "pipefail", "-c", "false | true"],
    ["-c", "-e", "false; echo never"],
    ["--norc", "--noprofile", "-c", "echo $-"],
    ["-c", "--", "echo after"],
    ["-c", "set -m; sleep 0.1 & fg %1; jobs; echo $?"],
    ["-c", "ulimit -n; umask; echo $SHLVL; env | sort"],
    ["-c", "ls -l /proc/self/fd | wc -l"],
    ["-s", "argument"],
    ["--version"],
    ["/nonexistent/script"],
    ["-c", "echo " + "x" * 100_000],
]


@pytest.mark.parametrize("arguments", LINES, ids=lambda words: repr(words)[:40])
def test_same_as_the_real_shell(
    daemon: Daemon, session: str, bash: str, arguments: list[Any]
) -> None:
    """Status, output and errors, with a daemon and without."""
    env = environment(daemon, session)
    away = env | {"AGENTCG_SOCKET": "/nonexistent"}
    for one in (env, away):  # argv[0] is in messages: the same for both
        real = outcome([REAL, *arguments], one, executable=REAL)
        assert outcome([REAL, *arguments], one, executable=bash) == real


def test_shell_runs_in_a_call(daemon: Daemon, session: str, bash: str) -> None:
    """From its first instruction, with the command as it was given."""
    line = "grep -o 'call-.*' /proc/self/cgroup; cat /proc/$$/oom_score_adj"
    status, said, _ = outcome([bash, "-c", line], environment(daemon, session))
    (call,) = calls(daemon, session)
    assert (status, call["command"]) == (0, line)
    assert said.decode().split() == [f"call-{call['id']}", "500"]
    until(lambda: calls(daemon, session)[0]["state"] == "ended")


def test_nested_shells_are_in_the_same_call(daemon: Daemon, session: str, bash: str) -> None:
    """What a call starts belongs to it."""
    env = environment(daemon, session, PATH=f"{Path(bash).parent}:/usr/bin:/bin")
    assert outcome(["bash", "-c", "bash -c 'bash -c true'"], env, executable=bash)[0] == 0
    assert len(calls(daemon, session)) == 1


def test_scripts_and_terminals_are_no_calls(daemon: Daemon, session: str, bash: str) -> None:
    """A shell without -c is somebody's, not a tool's."""
    env = environment(daemon, session)
    assert outcome([bash], env, input=b"echo hello")[1] == b"hello\n"
    assert calls(daemon, session) == []


def test_declared_call_gets_its_shell(daemon: Daemon, session: str, bash: str) -> None:
    """A hook has declared it before: it is one call."""
    line = "sleep 0; : --password=hunter2"  # which the daemon does not keep
    declared = daemon.begin(session, command=line, reference="toolu_1")
    assert "hunter2" not in declared["command"]
    assert outcome([bash, "-c", line], environment(daemon, session))[0] == 0
    (call,) = calls(daemon, session)
    assert call["id"] == declared["id"]
    assert call["account"]["wall_s"] >= 0


def test_declared_call_of_several_lines_gets_its_shell(
    daemon: Daemon, session: str, bash: str
) -> None:
    """Also where the lines are kept as they were, and a secret is in one of them."""
    line = "export API_KEY=hunter2\ncat <<'END'\n\tx y\nEND"
    declared = daemon.begin(session, command=line)
    assert outcome([bash, "-c", line], environment(daemon, session))[1] == b"\tx y\n"
    assert [call["id"] for call in calls(daemon, session)] == [declared["id"]]


def test_parent_that_is_no_shell_is_not_placed(daemon: Daemon, session: str, program: Path) -> None:
    """A shell that is killed leaves its --join to whatever reaps it, such as an agent."""
    agent = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    words = [sys.executable, "-c", agent, program, "--join", "x"]
    assert outcome(words, environment(daemon, session)) == (0, b"", b"")
    assert calls(daemon, session) == []


def test_bash_env_without_proc(program: Path) -> None:
    """A sandbox without /proc: not a word, also with -u and -e."""
    text = (native.SOURCES / "bash_env.sh").read_text().replace("/proc/self", "/nonexistent")
    script = program.parent / "no-proc.sh"
    script.write_text(text)
    env = {"PATH": "/usr/bin:/bin", "BASH_ENV": str(script), "AGENTCG_SHELL": "/nonexistent"}
    assert outcome([REAL, "-euc", "echo fine"], env) == (0, b"fine\n", b"")


def test_prefix_of_a_client(daemon: Daemon, session: str, program: Path) -> None:
    """CLAUDE_CODE_SHELL_PREFIX: one argument is a command; hooks and servers are no calls."""
    env = environment(daemon, session)
    line = 'echo "it\'s $((1 + 1))"; exit 4'
    assert outcome([program, line], env) == (4, b"it's 2\n", b"")
    assert [call["command"] for call in calls(daemon, session)] == [line]
    hook = env | {"AI_AGENT": "claude-code_2_harness"}
    assert outcome([program, line], hook) == (4, b"it's 2\n", b"")
    assert len(calls(daemon, session)) == 1


def test_bash_env_places_the_shell(daemon: Daemon, session: str, program: Path) -> None:
    """A client that names its shell itself: BASH_ENV, which reads the user's own afterwards."""
    own = program.parent / "own.sh"
    own.write_text("own=yes\n")
    env = environment(
        daemon, session, BASH_ENV=str(native.SOURCES / "bash_env.sh"),
        AGENTCG_SHELL=str(program), AGENTCG_BASH_ENV=str(own),
    )  # fmt: skip
    line = "grep -o 'call-.*' /proc/self/cgroup; echo $own ${_agentcg-unset}; bash -c true; exit 5"
    status, said, errors = outcome([REAL, "-euc", line], env)
    (call,) = calls(daemon, session)
    assert (status, errors) == (5, b"")
    assert said.decode().split() == [f"call-{call['id']}", "yes", "unset"]
    assert call["command"] == line


def on_a_terminal(words: list[str], env: dict[str, str], keys: list[bytes]) -> tuple[int, str]:
    """Wait status and output of a session leader on a terminal, on which keys are pressed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(words[0], words, env)
    output = b""
    for key in [*keys, b""]:
        while key and b"ready" not in output.rpartition(b"key")[2]:
            output += os.read(terminal, 1024)  # an error once the program has ended
        if key:
            output += b"key"
            os.write(terminal, key)
    with contextlib.suppress(OSError):
        while chunk := os.read(terminal, 1024):
            output += chunk
    os.close(terminal)
    return os.waitpid(pid, 0)[1], output.decode()


TERMINAL = "trap 'echo interrupted; exit 9' INT; tty > /dev/null && ps -o tpgid=,pgid= $$ | awk "
TERMINAL += "'{print $1 == $2}'; echo ready; sleep 120; echo late"


def test_terminal_and_its_keys(daemon: Daemon, session: str, bash: str) -> None:
    """It is the foreground of its terminal, and ^C gets to it and its command."""
    env = environment(daemon, session, TERM="xterm")
    status, said = on_a_terminal([bash, "-c", TERMINAL], env, [b"\x03"])
    assert os.waitstatus_to_exitcode(status) == 9
    assert said.split()[0] == "1"
    assert "interrupted" in said
    assert len(calls(daemon, session)) == 1


def test_signals_get_to_the_shell_itself(daemon: Daemon, session: str, bash: str) -> None:
    """It is the process that was started: no other stands between."""
    with subprocess.Popen(
        [bash, "-c", "echo $$ $PPID; exec sleep 60"], env=environment(daemon, session),
        stdout=subprocess.PIPE,
    ) as shell:  # fmt: skip
        assert shell.stdout is not None
        assert shell.stdout.readline().split() == [b"%d" % shell.pid, b"%d" % os.getpid()]
        shell.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(shell.pid, os.WUNTRACED)[1])
        shell.send_signal(signal.SIGCONT)
        shell.send_signal(signal.SIGTERM)
        assert shell.wait(PATIENCE_S) == -signal.SIGTERM


def test_other_users_session_gives_no_place(daemon: Daemon, session: str, bash: str) -> None:
    """Who may not act there runs without a call."""
    line = [bash, "-c", "id -u"]
    done = subprocess.run(
        line, env=environment(daemon, session), user=4711, group=4711, extra_groups=[],
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"4711\n")
    assert calls(daemon, session) == []


def test_real_shell_is_not_itself(program: Path, bash: str, daemon: Daemon, session: str) -> None:
    """A link in the place of the real shell does not make it run itself for ever."""
    env = environment(daemon, session, AGENTCG_REAL_SHELL=bash)
    assert outcome([bash, "-c", "echo fine"], env)[1] == b"fine\n"
    assert outcome([program], env)[0] == 2
