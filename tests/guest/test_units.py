# SPDX-License-Identifier: Apache-2.0
"""The units: started, reloaded, stopped and killed as a host's systemd does it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agentcg.cgroups import find_mount
from agentcg.daemon.policybench.zram import swap_on_zram

UNITS = (
    "agentcg.slice",
    "agentcg-sessions.service",
    "agentcg.socket",
    "agentcgd.slice",
    "agentcgd.service",
)
HOLDER = Path("/sys/fs/cgroup/agentcg.slice/agentcg-sessions.service")
SOCKET = Path("/run/agentcg/agentcg.sock")
POLICIES = Path("/etc/agentcg/policies.d")
# linux/capability.h
CAPABILITIES = {"SYS_RESOURCE": 24, "PERFMON": 38, "BPF": 39}
PATIENCE_S = 300.0  # the guest is emulated: generous, and only ever spent by a failure


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; with `check`, it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def show(unit: str, name: str) -> str:
    """One property of a unit."""
    return run("systemctl", "show", "--property", name, "--value", unit).stdout.strip()


def main_pid(unit: str = "agentcgd.service") -> int:
    """The unit's main process; 0 if it has none."""
    return int(show(unit, "MainPID"))


def health() -> dict[str, object]:
    """The daemon's answer to a request on the socket."""
    done = run("curl", "-sS", "--fail", "--unix-socket", str(SOCKET), "http://agentcg/v1/health")
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def wait_for(what: str, condition: object) -> None:
    """Wait until `condition()` is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:.0f} s for {what}"
        time.sleep(0.1)


@pytest.fixture
def daemon() -> Iterator[int]:
    """The daemon, started by its unit; its pid. Started again if the test stopped it."""
    run("systemctl", "reset-failed")
    run("systemctl", "start", "agentcgd.service")
    yield main_pid()
    run("systemctl", "start", "agentcg-sessions.service", "agentcg.socket", "agentcgd.service")


@pytest.fixture
def agent(daemon: int) -> Iterator[subprocess.Popen[bytes]]:
    """A long command in a call of session "unit-test"; gone after the test."""
    process = subprocess.Popen(
        ["agentcg", "run", "--strict", "--session", "unit-test", "--", "sleep", "1000"]
    )
    wait_for("the call's process", lambda: sleeping() is not None)
    yield process
    if (pid := sleeping()) is not None:
        os.kill(pid, signal.SIGKILL)
    process.wait(PATIENCE_S)
    run("agentcg", "sessions", "close", "unit-test", check=False)


def sleeping() -> int | None:
    """Pid of the command that `agent` runs, found in the session's own cgroups."""
    for procs in HOLDER.glob("sessions/*/call-*/cgroup.procs"):
        for pid in procs.read_text().split():
            if Path(f"/proc/{pid}/comm").read_text().strip() == "sleep":
                return int(pid)
    return None


def cgroup_of(pid: int) -> Path:
    """The cgroup of a process."""
    text = Path(f"/proc/{pid}/cgroup").read_text().strip()
    return Path("/sys/fs/cgroup" + text.partition("::")[2])


def test_the_units_have_no_mistake() -> None:
    """systemd understands every line and finds what they refer to."""
    done = run("systemd-analyze", "verify", *UNITS)
    assert done.stdout + done.stderr == ""


def test_exposure_is_low() -> None:
    """systemd's own judgement of the hardening stays in its best class."""
    for unit in ("agentcgd.service", "agentcg-sessions.service"):
        # --threshold takes tenths: 20 is an exposure of 2.0 of 10 ("OK" up to 4.9).
        run("systemd-analyze", "security", "--threshold=20", "--no-pager", unit)


def test_the_first_request_starts_the_daemon(daemon: int) -> None:
    """The socket is there before the daemon, and answers by starting it."""
    run("systemctl", "stop", "agentcgd.service")
    assert SOCKET.is_socket()
    assert health()["pid"] == main_pid()
    assert main_pid() != daemon


def test_anybody_may_connect(daemon: int) -> None:
    """The socket is open to every user; credentials decide what each may do."""
    command = f"curl -sS --fail --unix-socket {SOCKET} http://agentcg/v1/health"
    run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", command)


def test_moving_processes_is_quick(daemon: int) -> None:
    """The unit sets `favordynmods`, and what else the hierarchy was mounted with stays."""
    assert daemon
    assert {"favordynmods", "nsdelegate", "memory_recursiveprot"} <= find_mount().options


def test_the_daemon_has_only_the_capabilities_of_its_unit(daemon: int) -> None:
    """Whatever the daemon executes cannot gain more than the unit lists."""
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{daemon}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert int(status["CapBnd"], 16) == sum(1 << number for number in CAPABILITIES.values())
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"


@pytest.mark.parametrize(
    ("path", "writable"),
    [
        ("/sys/fs/cgroup/agentcg.slice/agentcg-sessions.service", True),
        ("/sys/fs/bpf/agentcg", True),
        ("/run/agentcg", True),
        ("/sys/fs/cgroup/system.slice", False),
        ("/etc", False),
        ("/usr", False),
        ("/proc/sys/kernel", False),
    ],
)
def test_the_daemon_may_write_its_own_folders_only(daemon: int, path: str, writable: bool) -> None:
    """Seen from inside the daemon's mount namespace, all but its own folders is read-only."""
    done = run("nsenter", f"--target={daemon}", "--mount", "test", "-w", path, check=False)
    assert (done.returncode == 0) is writable


def test_the_daemon_outweighs_all_agents_together(daemon: int) -> None:
    """Its slice is a sibling of the agents' and of all services', and heavier than both."""
    cgroups = find_mount().path
    assert cgroup_of(daemon) == cgroups / "agentcgd.slice/agentcgd.service"

    def weight(name: str) -> int:
        return int((cgroups / name / "cpu.weight").read_text())

    assert weight("agentcgd.slice") > weight("agentcg.slice") + weight("system.slice")


def test_the_daemon_keeps_its_memory(daemon: int) -> None:
    """However much is taken from its unit, no page of its own is swapped out."""
    wait_for("accounting", lambda: health()["accounting"] != "starting")
    unit = Path("/sys/fs/cgroup") / show("agentcgd.service", "ControlGroup").lstrip("/")
    with swap_on_zram(1 << 29):
        with suppress(BlockingIOError):  # there is not so much that can be had
            (unit / "memory.reclaim").write_text("1G")
        status = Path(f"/proc/{daemon}/status").read_text()
    assert "VmSwap:\t       0 kB" in status, status


def test_accounting_works_under_the_hardening(daemon: int) -> None:
    """The sandbox leaves the daemon all that BPF accounting needs."""
    wait_for("accounting", lambda: health()["accounting"] != "starting")
    assert health()["accounting"] == "bpf", health()


def test_reload_takes_a_new_policy_and_keeps_the_old_one_for_a_bad_one(daemon: int) -> None:
    """`systemctl reload` returns when the policy is in force, and the process stays the same."""
    file = POLICIES / "unit-test.yaml"
    try:
        file.write_text("calls: [}\n")
        run("systemctl", "reload", "agentcgd.service")
        assert "unit-test.yaml:1" in str(health()["policy_error"])
        file.unlink()
        run("systemctl", "reload", "agentcgd.service")
        assert health()["policy_error"] is None
    finally:
        file.unlink(missing_ok=True)
    assert main_pid() == daemon
    assert show("agentcgd.service", "ActiveState") == "active"


@pytest.mark.parametrize("how", ["stop", "restart", "kill"])
def test_agents_outlive_the_daemon(agent: subprocess.Popen[bytes], daemon: int, how: str) -> None:
    """Stopping, restarting or killing the daemon leaves a running call and its limits alone."""
    pid = sleeping()
    assert pid is not None
    leaf = cgroup_of(pid)
    limit = (leaf / "pids.max").read_text()
    if how == "kill":
        run("systemctl", "kill", "--signal=KILL", "agentcgd.service")
        wait_for("systemd to restart it", lambda: main_pid() not in (0, daemon))
    else:
        run("systemctl", how, "agentcgd.service")
    assert cgroup_of(pid) == leaf
    assert (leaf / "pids.max").read_text() == limit
    # How much of its grant it may take at the moment is the lease: that may have changed.
    assert (leaf / "memory.high").read_text() != "max\n"
    assert agent.poll() is None
    run("systemctl", "start", "agentcgd.service")  # returns when it is ready
    sessions = run("agentcg", "sessions", "--json").stdout
    assert "unit-test" in sessions


def test_the_holder_can_be_restarted_under_running_agents(
    agent: subprocess.Popen[bytes], daemon: int
) -> None:
    """Even the unit that holds the tree may go and come back: agents stay where they are."""
    pid = sleeping()
    assert pid is not None
    leaf = cgroup_of(pid)
    run("systemctl", "stop", "agentcg-sessions.service")
    assert cgroup_of(pid) == leaf
    assert show("agentcgd.service", "ActiveState") == "inactive"
    run("systemctl", "start", "agentcgd.service")
    assert cgroup_of(pid) == leaf
    assert cgroup_of(main_pid("agentcg-sessions.service")) == HOLDER / "holder"
    assert "unit-test" in run("agentcg", "sessions", "--json").stdout


def test_a_daemon_that_hangs_is_replaced(daemon: int) -> None:
    """Without a sign of life for WatchdogSec= systemd kills the daemon and starts another."""
    drop_in = Path("/run/systemd/system/agentcgd.service.d/test.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text("[Service]\nWatchdogSec=4s\nWatchdogSignal=SIGKILL\n")
    try:
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "agentcgd.service")
        hung = main_pid()
        os.kill(hung, signal.SIGSTOP)
        wait_for("a new daemon", lambda: main_pid() not in (0, hung))
        assert health()["pid"] == main_pid()
    finally:
        drop_in.unlink()
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "agentcgd.service")


def test_the_old_systemd_drop_ins_work_too(daemon: int) -> None:
    """What hosts with systemd 252 get: reload by signal, and a holder that moves itself."""
    source = Path("/usr/local/share/agentcg/systemd/systemd-252")
    target = Path("/run/systemd/system")
    copies = []
    for path in source.rglob("*.conf"):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        if "agentcg-sessions" in str(path):
            text += "DelegateSubgroup=\n"  # as if it were not known
        copy.write_text(text)
        copies.append(copy)
    try:
        run("systemctl", "daemon-reload")
        run("systemctl", "stop", "agentcg.socket", "agentcgd.service", "agentcg-sessions.service")
        run("systemctl", "start", "agentcgd.service")
        assert show("agentcgd.service", "Type") == "notify"
        wait_for(
            "the holder to move",
            lambda: cgroup_of(main_pid("agentcg-sessions.service")) == HOLDER / "holder",
        )
        run("systemctl", "reload", "agentcgd.service")
        wait_for("the reload", lambda: health()["state"] != "starting")
    finally:
        for copy in copies:
            copy.unlink()
        run("systemctl", "daemon-reload")
        run("systemctl", "stop", "agentcg.socket", "agentcgd.service", "agentcg-sessions.service")
