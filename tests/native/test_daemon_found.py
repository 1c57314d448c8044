# SPDX-License-Identifier: Apache-2.0
"""Calls that nobody declares, through the daemon; the agents are scripts of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cgroup_support import cgroup_of, spawn_same_pid, until
from daemon_support import Daemon, daemon_with_bpf, fresh

# Runs the lines that it reads as `sh -c`, as agents do; "&": without waiting.
AGENT = """
import subprocess, sys
for line in sys.stdin:
    tool = subprocess.Popen(["/bin/sh", "-c", line.strip("&\\n")], start_new_session=True)
    print(tool.pid, flush=True)
    if not line.startswith("&"):
        print(tool.wait(), flush=True)
"""

# For a shell: wait until the daemon has put it into its leaf, however slow both are.
PLACED = "for i in $(seq 2400); do grep -q /call- /proc/self/cgroup && break; sleep 0.05; done"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with daemon_with_bpf() as running:
        yield running


class Agent:
    """An agent that knows nothing of agentcg, in a session that somebody opened for it."""

    def __init__(self, daemon: Daemon, process: subprocess.Popen[str], session: str) -> None:
        self.daemon, self.process, self.session = daemon, process, session

    def say(self, line: str) -> int:
        """Pid of the shell that runs `line`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def run(self, line: str) -> int:
        """Status of `line`."""
        self.say(line)
        return self.status()

    def status(self) -> int:
        """Status of what it runs now, once that has ended."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def calls(self) -> list[Any]:
        return list(self.daemon.get(f"/v1/calls?session={self.session}&limit=500")["calls"])

    def call(self, command: str) -> Any:
        """The one call with this command."""
        until(lambda: [c for c in self.calls() if c["command"] == command])
        (found,) = [call for call in self.calls() if call["command"] == command]
        return found


@contextmanager
def agent(daemon: Daemon, **fields: object) -> Iterator[Agent]:
    name = fresh()
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", AGENT],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        daemon.open(name, pids=[process.pid], **fields)
        try:
            yield Agent(daemon, process, name)
        finally:
            process.kill()
            daemon.ask("DELETE", f"/v1/sessions/{name}?kill=true")


def test_each_shell_of_an_unknown_agent_is_a_call(daemon: Daemon, tmp_path: Path) -> None:
    """What an agent runs as `sh -c` has a leaf, a command, a status and an account of its own."""
    with agent(daemon) as unknown:
        for n in range(5):
            go = tmp_path / f"{n}"
            command = f"until [ -e {go} ]; do sleep 0.05; done; exit {n}"
            unknown.say(command)
            until(lambda c=command: unknown.call(c)["placed_after_us"])  # type: ignore[misc]
            go.touch()
            assert unknown.status() == n
            until(lambda c=command: unknown.call(c)["state"] == "ended")  # type: ignore[misc]
            call = unknown.call(command)
            assert (call["found"], call["client"], call["exit_status"]) == ("generic", "generic", n)
            assert (call["end_reason"], call["shared"]) == ("exited", False)
            assert call["placed_after_us"] > 0
        assert len(unknown.calls()) == 5


def test_everything_a_call_starts_is_in_its_leaf(daemon: Daemon) -> None:
    """Children born before their shell was moved are in the leaf; the agent stays outside."""
    tree = "for i in 1 2 3 4 5 6 7 8; do (sleep 1000 & sleep 1000; :) & done; wait"
    with agent(daemon) as unknown:
        unknown.say("&" + tree)
        call = unknown.call(tree)
        until(lambda: unknown.daemon.get(f"/v1/calls/{call['id']}")["processes_now"] == 25)
        assert cgroup_of(unknown.process.pid).endswith("/runtime")
        session = daemon.get(f"/v1/sessions/{unknown.session}")
        assert session["processes"] == 26


def test_a_call_too_short_for_a_leaf_is_accounted(daemon: Daemon) -> None:
    """Two hundred shells that do nothing are two hundred calls with their status."""
    with agent(daemon) as unknown:
        for n in range(200):
            unknown.run(f": {n}; exit 7")
        until(lambda: len([c for c in unknown.calls() if c["state"] == "ended"]) == 200)
        assert daemon.get(f"/v1/sessions/{unknown.session}")["calls_total"] == 200
        assert {call["exit_status"] for call in unknown.calls()} == {7}


def test_what_a_call_leaves_behind_lingers(daemon: Daemon) -> None:
    """A daemon that outlives its call is listed as lingering with its call, not with another."""
    command = f"setsid sleep 1000 & {PLACED}"
    with agent(daemon) as unknown:
        unknown.run(command)
        until(lambda: unknown.call(command)["state"] == "lingering")
        assert unknown.call(command)["processes_now"] == 1


def test_a_declared_call_is_not_found_twice(daemon: Daemon) -> None:
    """A process that was found and then declared by its client is one call, the declared one."""
    command = "sleep 1000"
    with agent(daemon) as unknown:
        pid = unknown.say("&" + command)
        unknown.call(command)
        declared = daemon.begin(unknown.session, tool="Bash", command="make", pid=pid)
        (only,) = unknown.calls()
        assert (only["id"], only["found"], only["command"]) == (declared["id"], "declared", "make")


def test_a_process_of_a_declared_call_is_found_for_it(daemon: Daemon) -> None:
    """A hook declares a call before its process is there; the process that comes is put there."""
    command = f"{PLACED}; exit 4"
    with agent(daemon) as unknown:
        declared = daemon.begin(unknown.session, tool="Bash", command=command, reference="t1")
        unknown.run(command)
        until(lambda: daemon.get(f"/v1/calls/{declared['id']}")["state"] == "ended")
        (only,) = unknown.calls()
        assert (only["found"], only["exit_status"], only["reference"]) == ("hook", 4, "t1")


def test_a_forged_name_gains_nothing(daemon: Daemon) -> None:
    """With another session's names and variables a process is in the session of its cgroup."""
    with agent(daemon) as first, agent(daemon) as second:
        command = f"CODEX_TOOL_CALL_ID={first.session} exec -a claude sleep 0.2"
        second.run(command)
        assert second.call(command)["session"] == second.session
        assert first.calls() == []


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """A daemon that does not get to look at anything within the block."""
    daemon.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.signal(signal.SIGCONT)


def test_a_reused_number_is_not_taken_for_the_call(daemon: Daemon) -> None:
    """By the time that the daemon looks the shell is gone and another process has its number: that
    one stays where it is, and the call is accounted as one that was over."""
    with agent(daemon) as unknown:
        with stopped(daemon):
            pid = unknown.say("exit 9")
            assert unknown.process.stdout is not None
            assert unknown.process.stdout.readline() == "9\n"
            other = spawn_same_pid(pid)
        try:
            home = cgroup_of(other)
            call = unknown.call("exit 9")
            assert (call["exit_status"], call["placed_after_us"]) == (9, None)
            assert call["cgroup"].endswith("/runtime")  # no leaf was made for it
            assert cgroup_of(other) == home
        finally:
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)


def test_numbers_in_a_hurry(daemon: Daemon) -> None:
    """Among processes that are born and end as fast as can be each shell still is one call, and
    nothing of the storm is moved."""
    storm = "import os\nwhile os.getppid() != 1:\n if os.fork() == 0: os._exit(0)\n os.wait()\n"
    with subprocess.Popen([sys.executable, "-IS", "-c", storm]) as outside:
        try:
            with agent(daemon) as unknown:
                for n in range(50):
                    assert unknown.run(f": {n}; exit 3") == 3
                until(lambda: len([c for c in unknown.calls() if c["state"] == "ended"]) == 50)
                assert {call["exit_status"] for call in unknown.calls()} == {3}
                executed = [c["account"]["execs"] for c in unknown.calls()]
                assert set(executed) <= {0, 1}
        finally:
            outside.kill()


def children_ended(pid: int) -> bool:
    """Whether it had children, to end."""
    return subprocess.run(["pkill", "-P", str(pid)], check=False).returncode == 0


def test_detection_goes_on_over_a_restart(daemon: Daemon) -> None:
    """A daemon that was killed knows its found calls again, and finds what began meanwhile."""
    with agent(daemon) as unknown:
        before = unknown.say("&sleep 1000; exit 5")
        unknown.call("sleep 1000; exit 5")
        daemon.kill()
        meanwhile = unknown.say("&sleep 1000; exit 6")
        daemon.start()
        until(lambda: len(unknown.calls()) == 2)
        for pid in (before, meanwhile):
            until(lambda pid=pid: children_ended(pid))  # type: ignore[misc]
        until(lambda: {c["exit_status"] for c in unknown.calls()} == {5, 6})
        assert {call["found"] for call in unknown.calls()} == {"generic"}


@contextmanager
def policy(daemon: Daemon, text: str) -> Iterator[None]:
    """A site's policy, in force within the block."""
    path = daemon.policies / "50-test.yaml"
    path.write_text(f"version: 1\n{text}\n")
    daemon.signal(signal.SIGHUP)
    until(lambda: daemon.get("/v1/health")["policy"] == str(daemon.policies))
    try:
        yield
    finally:
        path.unlink()
        daemon.signal(signal.SIGHUP)
        until(lambda: daemon.get("/v1/health")["policy"] != str(daemon.policies))


ADOPT = "sessions: [{match: {labels: {client: mini-swe-agent}}, adopt: true}]"


def stand_in(directory: Path) -> Path:
    """A program with the name of a known client."""
    program = directory / "mini"
    program.write_text(f"#!{sys.executable} -IS\n{AGENT}")
    program.chmod(0o755)
    return program


@contextmanager
def unwrapped(program: Path) -> Iterator[subprocess.Popen[str]]:
    """An agent under no wrapper at all."""
    with subprocess.Popen(
        [program, "-m", "x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_an_agent_without_a_wrapper_is_adopted(daemon: Daemon, tmp_path: Path) -> None:
    """If the policy says so, an agent of a known client has a session, and it ends with it."""
    with policy(daemon, ADOPT), unwrapped(stand_in(tmp_path)) as process:
        name = f"mini-swe-agent-{process.pid}"
        until(lambda: daemon.ask("GET", f"/v1/sessions/{name}").status == 200)
        until(lambda: cgroup_of(process.pid).endswith(f"{name}/runtime"))
        adopted = Agent(daemon, process, name)
        adopted.run("sleep 0.2; exit 3")
        call = adopted.call("sleep 0.2; exit 3")
        assert (call["found"], call["client"]) == ("signature", "mini-swe-agent")
        process.kill()
        until(lambda: daemon.ask("GET", f"/v1/sessions/{name}").status == 404)


def test_without_a_rule_nothing_is_adopted(daemon: Daemon, tmp_path: Path) -> None:
    """An agent that no rule adopts stays where it is."""
    with unwrapped(stand_in(tmp_path)) as process:
        before = cgroup_of(process.pid)
        Agent(daemon, process, "").run("true")
        assert cgroup_of(process.pid) == before
        assert daemon.get("/v1/sessions")["sessions"] == []


def test_leftovers_are_ended_by_the_policy(daemon: Daemon) -> None:
    """What a call leaves running goes on for as long as `linger_max` says."""
    with policy(daemon, "calls: [{linger_max: 1s}]"), agent(daemon) as unknown:
        unknown.run(f"setsid sleep 1000 & {PLACED}")
        until(lambda: {call["state"] for call in unknown.calls()} == {"ended"})


SERVER = """
import subprocess, sys
server = subprocess.Popen(["mcp-server", "1000"], executable="/bin/sleep")
tool = subprocess.Popen(["/bin/sh", "-c", "sleep 1000"])
print(server.pid, tool.pid, flush=True)
sys.stdin.read()
"""


def test_a_server_of_tools_has_a_leaf_of_its_own(tmp_path: Path) -> None:
    """What a site's signature calls `mcp` is in `mcp-1`, is no call, and is listed; also where its
    program can have any name, so that the kernel does not tell of it at once."""
    (tmp_path / "mine.yaml").write_text(
        "version: 1\nclient: mine\nprocesses:\n"
        '  - {role: mcp, when: {argv: "*mcp-server*"}}\n'
        '  - {role: call, when: {comm: sh, argv: "* -c *"}}\n'
    )
    name = fresh()
    with daemon_with_bpf("--clients", str(tmp_path)) as daemon, subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; exec "$@"', "sh", sys.executable, "-ISc", SERVER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        daemon.open(name, pids=[process.pid], labels={"client": "mine"})
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        server, tool = map(int, process.stdout.readline().split())
        until(lambda: cgroup_of(server).endswith("/mcp-1"))
        until(lambda: "/call-" in cgroup_of(tool))
        session = daemon.get(f"/v1/sessions/{name}")
        assert [each["name"] for each in session["servers"]] == ["mcp-1"]
        assert session["calls_total"] == 1
        daemon.restart()
        assert [each["name"] for each in daemon.get(f"/v1/sessions/{name}")["servers"]] == ["mcp-1"]
        daemon.good("DELETE", f"/v1/sessions/{name}?kill=true")
