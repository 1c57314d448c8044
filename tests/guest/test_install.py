# SPDX-License-Identifier: Apache-2.0
"""systemd/install and systemd/uninstall: all there, then nothing left, and agents unharmed."""

from __future__ import annotations

import grp
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_kernel(minutes=4)

SCRIPTS = Path("/usr/local/share/agentcg/systemd")
SLICE = Path("/sys/fs/cgroup/agentcg.slice")
PATIENCE_S = 300.0
RUNTIME_UNIT = Path("/run/systemd/system/agentcgd.service")
TRACES_OF_AN_INSTALLATION = (
    "/etc/agentcg",
    "/etc/systemd/system/multi-user.target.wants/agentcgd.service",
    "/etc/systemd/system/sockets.target.wants/agentcg.socket",
    "/run/agentcg",
    str(RUNTIME_UNIT),
    "/sys/fs/bpf/agentcg",
    "/sys/fs/cgroup/agentcg.slice",
    "/sys/fs/cgroup/agentcgd.slice",
    "/usr/local/lib/systemd/system/agentcgd.service",
    "/usr/local/lib/systemd/system/agentcgd.slice",
    "/usr/local/lib/systemd/system/agentcg-sessions.service",
    "/usr/local/lib/sysusers.d/agentcg.conf",
    "/usr/local/lib/tmpfiles.d/agentcg.conf",
)


def script(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one of the two scripts."""
    return subprocess.run([SCRIPTS / name, *options], capture_output=True, text=True, check=False)


def succeed(name: str, *options: str) -> str:
    """Run one of the two scripts, which must succeed; its output."""
    done = script(name, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def state(unit: str) -> str:
    """What systemd says of a unit: "active", "inactive" ..."""
    command = ["systemctl", "is-active", unit]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def left() -> list[str]:
    """What there is of an installation."""
    return [path for path in TRACES_OF_AN_INSTALLATION if Path(path).exists()]


@pytest.fixture(autouse=True, scope="module")
def installed_as_before() -> Iterator[None]:
    """After these tests agentcg is installed and not started, as others expect it."""
    yield
    succeed("install", "--no-start")


@pytest.fixture(autouse=True)
def nothing_is_left(installed_as_before: None) -> Iterator[None]:
    """No test finds what an earlier one has installed."""
    yield
    if RUNTIME_UNIT.exists():
        succeed("uninstall", "--runtime", "--force")
    if left():
        succeed("uninstall", "--force")


@pytest.fixture
def agent() -> Iterator[int]:
    """A long command in a session of the installed daemon; its pid."""
    succeed("install")
    command = ["agentcg", "run", "--strict", "--session", "survivor", "--", "sleep", "1000"]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + PATIENCE_S
    while not (found := sleepers()):
        assert time.monotonic() < deadline, "the agent's command did not start"
        time.sleep(0.1)
        if process.poll() is not None:  # the daemon did not answer in time
            process = subprocess.Popen(command)
    yield found[0]
    for pid in sleepers():
        os.kill(pid, signal.SIGKILL)
    process.wait(PATIENCE_S)


def sleepers() -> list[int]:
    """Commands of sessions that run now."""
    files = SLICE.glob("agentcg-sessions.service/sessions/*/call-*/cgroup.procs")
    pids = [int(pid) for file in files for pid in file.read_text().split()]
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"]


def test_install_starts_everything_now_and_at_boot() -> None:
    """After `install` the daemon answers, and is enabled for the next boot."""
    succeed("install")
    assert state("agentcgd.service") == "active"
    assert state("agentcg.socket") == "active"
    for unit in ("agentcgd.service", "agentcg.socket"):
        subprocess.run(["systemctl", "is-enabled", "--quiet", unit], check=True)
    assert grp.getgrnam("agentcg").gr_mem == []
    subprocess.run(["agentcg", "status"], check=True)


def test_install_can_be_repeated() -> None:
    """A second `install` (an upgrade) succeeds and leaves the daemon running."""
    succeed("install")
    succeed("install")
    assert state("agentcgd.service") == "active"


def test_uninstall_leaves_nothing() -> None:
    """Units, links, group, run-time files, BPF pins and cgroups are gone."""
    succeed("install")
    succeed("uninstall")
    assert left() == []
    with pytest.raises(KeyError):
        grp.getgrnam("agentcg")
    succeed("uninstall")


def test_uninstall_keeps_policies_and_says_so() -> None:
    """What an operator wrote is not thrown away."""
    succeed("install")
    policy = Path("/etc/agentcg/policies.d/mine.yaml")
    policy.write_text("# mine\n")
    try:
        assert "has your policies" in succeed("uninstall")
        assert policy.exists()
    finally:
        policy.unlink()


def test_uninstall_refuses_while_agents_run(agent: int) -> None:
    """It names the session that is in the way and changes nothing."""
    done = script("uninstall")
    assert done.returncode == 1
    assert "survivor" in done.stderr
    assert state("agentcgd.service") == "active"
    assert agent in sleepers()


def test_forced_uninstall_spares_agents(agent: int) -> None:
    """With --force the daemon goes, agents live on in their cgroups, and it says where."""
    assert "still running" in succeed("uninstall", "--force")
    assert agent in sleepers()
    assert state("agentcgd.service") == "inactive"


def test_runtime_units_come_and_go() -> None:
    """--runtime writes below /run only, and its counterpart removes that."""
    succeed("uninstall")
    succeed("install", "--runtime", "--bin", "/usr/local/bin")
    assert state("agentcgd.service") == "active"
    assert not Path("/usr/local/lib/systemd/system/agentcgd.service").exists()
    succeed("uninstall", "--runtime")
    assert left() == []


@pytest.fixture
def checkout() -> Iterator[Path]:
    """What `make install` takes: Makefile and wheel, as `make guest` brings them along. The
    guest's own agentcg is out of the way meanwhile."""
    place = Path("/srv/agentcg")
    assert [*place.glob("dist/*.whl")], "needs --push dist:/srv/agentcg/dist --push Makefile:..."
    away = [Path("/usr/local/bin", name) for name in ("agentcg", "agentcgd")]
    away.append(Path("/usr/local/lib/python3.13/dist-packages/agentcg"))
    for path in away:
        path.rename(f"{path}.away")
    yield place
    for path in away:
        path.unlink(missing_ok=True)
        Path(f"{path}.away").rename(path)


def test_make_install_brings_a_daemon_that_works_and_make_uninstall_removes_it(
    checkout: Path,
) -> None:
    """From the wheel alone, by pip, without the repository: a call runs and is in the status."""
    environment = os.environ | {"PIP_NO_INDEX": "1"}  # dependencies are the distribution's here

    def make(target: str) -> None:
        argv = ["make", "-o", "dist", target]
        done = subprocess.run(
            argv, check=False, cwd=checkout, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    succeed("uninstall")
    make("install")
    assert Path("/usr/local/bin/agentcgd").resolve() == Path("/opt/agentcg/bin/agentcgd")
    assert state("agentcgd.service") == "active"
    call = ["run", "--strict", "--memory", "256M", "--", "python3", "-c", "x=bytearray(100<<20)"]
    subprocess.run(["agentcg", *call], check=True, cwd="/")
    shown = subprocess.run(
        ["agentcg", "status", "--json"], capture_output=True, check=True, cwd="/"
    )
    assert [session["name"] for session in json.loads(shown.stdout)["sessions"]] == ["user-root"]
    make("uninstall")
    assert left() == []
    assert not Path("/opt/agentcg").exists()
    assert not Path("/usr/local/bin/agentcg").exists()
