# SPDX-License-Identifier: Apache-2.0
"""The guest does what its --help says; needs the host's QEMU, a minute, no other project file.

Run by `make test`: pytest tests/vm/selftest.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
GUEST = CHECKOUT / "tests/vm/guest"
sys.path.insert(0, str(GUEST.parent))

from guestvm.cache import cache_directory  # noqa: E402
from guestvm.guest import Options, machine  # noqa: E402
from guestvm.kernels import Kernel, load_kernels  # noqa: E402
from guestvm.project import SITE, build_objects, items  # noqa: E402

NAME = f"selftest-{os.getpid()}"
Result = subprocess.CompletedProcess[str]


def guest(*arguments: str, stdin: str | None = None, **environment: str) -> Result:
    return subprocess.run(
        [GUEST, "-q", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=os.environ | environment,
    )


def in_guest(*arguments: str, stdin: str | None = None) -> Result:
    return guest("exec", NAME, *arguments, stdin=stdin)


@pytest.fixture(scope="module", autouse=True)
def named_guest() -> Iterator[None]:
    started = guest("up", NAME)
    assert started.returncode == 0, started.stderr
    yield
    guest("down", NAME)


def test_a_run_passes_output_and_status_apart() -> None:
    """stdout is the command's alone, stderr too when we are quiet, the status is its own."""
    result = guest("run", "--no-install", "--", "echo out; echo err >&2; exit 7")
    assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 7)


@pytest.mark.parametrize("kernel", load_kernels(), ids=lambda kernel: kernel.name)
def test_every_kernel_boots_with_the_project(kernel: Kernel) -> None:
    """The kernel is the one of the list, systemd is content, the project is installed."""
    script = "uname -r; systemctl is-system-running; agentcg --version && type agentcgd"
    result = guest("run", "--kernel", kernel.name, "--", script)
    assert result.returncode == 0, result.stderr
    release, state, *_ = result.stdout.splitlines()
    root = machine(kernel, Options(3 << 30, 2)).vmlinux.parent
    assert release == (root / "version").read_text().strip()
    assert state == "running"
    assert "/usr/local/bin/agentcgd" in result.stdout


def test_one_word_is_a_line_and_several_are_a_program() -> None:
    """A shell reads one word; several reach the program untouched."""
    assert in_guest("--", "echo $((1 + 1))").stdout == "2\n"
    assert in_guest("--", "echo", "$((1 + 1))", "a  b").stdout == "$((1 + 1)) a  b\n"


def test_statuses_are_the_shells() -> None:
    """128 + n for a signal, 127 and 126 for what cannot be started."""
    assert in_guest("--", "kill -9 $$").returncode == 137
    assert in_guest("--", "/no/such", "x").returncode == 127
    assert in_guest("--", "/etc/passwd", "x").returncode == 126


def test_a_timeout_kills_everything_that_the_command_started() -> None:
    """124, and not even a process in a session of its own is left."""
    result = in_guest("--timeout", "1", "--", "setsid sleep 3601 & sleep 3602")
    assert result.returncode == 124
    assert "did not end within 1 s" in result.stderr
    assert in_guest("--", "pgrep -f 'sleep 360[12]'").returncode == 1


def test_a_timeout_kills_what_does_not_listen() -> None:
    """A command that ignores SIGTERM gets SIGKILL."""
    result = in_guest("--timeout", "1", "--", "trap '' TERM; sleep 3603 & wait; sleep 3603")
    assert result.returncode == 124
    assert in_guest("--", "pgrep -f 'sleep 360[3]'").returncode == 1


def test_a_dead_host_tool_takes_its_command_along() -> None:
    """SIGKILL to the tool ends the command in the guest, and the port is free again."""
    tool = subprocess.Popen([GUEST, "exec", NAME, "--", "echo up; sleep 3604"], stdout=-1)
    assert tool.stdout is not None
    assert tool.stdout.readline() == b"up\n"
    tool.kill()
    tool.wait()
    tool.stdout.close()
    wait = "for i in $(seq 1200); do pgrep -f 'sleep 360[4]$' || exit 0; sleep 0.1; done; exit 1"
    assert in_guest("--", wait).returncode == 0


def test_what_a_command_leaves_behind_lives_on() -> None:
    """A background process of a command that ended by itself is not touched."""
    in_guest("--", "setsid sleep 3605 >/dev/null 2>&1 & exit 0")
    assert in_guest("--", "pkill -f 'sleep 360[5]'").returncode == 0


def test_input_is_passed_on_when_asked_for() -> None:
    """More than any buffer holds arrives whole; without -i there is none."""
    text = "0123456789abcde\n" * 200_000
    assert in_guest("-i", "--", "wc -c", stdin=text).stdout.strip() == str(len(text))
    assert in_guest("--", "cat", stdin="x").stdout == ""


def test_much_output_arrives_whole() -> None:
    """Ten megabytes on stdout do not disturb a line on stderr."""
    result = in_guest("--", "head -c 10000000 /dev/zero | tr '\\0' x; echo done >&2")
    assert len(result.stdout) == 10_000_000
    assert result.stderr == "done\n"


def test_commands_run_side_by_side() -> None:
    """Four at once each get their own output and status."""
    commands = [
        subprocess.Popen(
            [GUEST, "exec", NAME, "--", f"sleep 0.5; echo {number}; exit {number}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for number, command in enumerate(commands):
        assert command.communicate()[0] == f"{number}\n"
        assert command.returncode == number


def test_files_go_in_and_come_back(tmp_path: Path) -> None:
    """Directories and files are pushed and fetched with their modes; caches are not pushed."""
    source = tmp_path / "source"
    (source / "__pycache__").mkdir(parents=True)
    (source / "script").write_text("#!/bin/sh\necho pushed\n")
    (source / "script").chmod(0o755)
    script = "/srv/here/script > /srv/out && ls -A /srv/here"
    push, fetch = f"{source}:/srv/here", f"/srv/out:{tmp_path}/back"
    result = in_guest("--push", push, "--fetch", fetch, "--", script)
    assert result.stdout == "script\n"
    assert (tmp_path / "back/out").read_text() == "pushed\n"


def test_a_fetch_of_nothing_is_an_error(tmp_path: Path) -> None:
    """A result that is not there is not a success."""
    result = in_guest("--fetch", f"/no/such:{tmp_path}", "--", "true")
    assert result.returncode == 120
    assert "fetching /no/such failed" in result.stderr


def test_a_guest_is_one_of_its_own() -> None:
    """Restored guests have the host's time, their own name, and different random numbers."""
    script = "hostname; date +%s; cat /proc/sys/kernel/random/uuid"
    results = []
    for _ in range(2):
        begun_s = int(time.time())
        results.append(guest("run", "--no-install", "--", script).stdout.splitlines())
        assert begun_s - 5 <= int(results[-1][1]) <= time.time() + 5
    assert results[0][0] != results[1][0]
    assert results[0][2] != results[1][2]


def test_a_panic_is_the_guests_failure() -> None:
    """120 and the console's last words, not the status of a command."""
    result = guest("run", "--no-install", "--", "echo c >/proc/sysrq-trigger; sleep 60")
    assert result.returncode == 120
    assert "not the command's status" in result.stderr
    assert "Kernel panic" in result.stderr


def test_an_interrupted_run_leaves_nothing() -> None:
    """SIGTERM ends the guest and removes its directory; SIGKILL ends it too."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        tool = subprocess.Popen(
            [GUEST, "-q", "run", "--no-install", "--", "echo up; sleep 60"], stdout=subprocess.PIPE
        )
        assert tool.stdout is not None
        assert tool.stdout.readline() == b"up\n"
        tool.send_signal(number)
        tool.wait(timeout=120)
        tool.stdout.close()
        assert f"run-{tool.pid}" not in guest("list").stdout
        assert not (cache_directory() / f"run/run-{tool.pid}").exists()


def test_an_empty_cache_without_a_builder_is_the_guests_failure(tmp_path: Path) -> None:
    """A half-written root is not used: without mmdebstrap there is nothing to run."""
    partial = tmp_path / "partial.root-0000"
    partial.mkdir()
    (partial / "root.img").write_text("half")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    result = guest("run", "--", "true", AGENTCG_GUEST_CACHE=str(tmp_path), PATH=str(tools))
    assert result.returncode == 120
    assert "this host lacks" in result.stderr


def test_the_guest_has_what_the_wheel_has(tmp_path: Path) -> None:
    """The packages are, file by file, those of the wheel that setuptools builds."""
    copy = tmp_path / "copy"
    skipped = shutil.ignore_patterns(
        ".git", ".venv", ".cache", "tests", "__pycache__", "*.egg-info"
    )
    shutil.copytree(CHECKOUT, copy, symlinks=True, ignore=skipped)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        expected = {
            name: archive.read(name) for name in archive.namelist() if name.startswith("agentcg/")
        }
    build_objects()
    found = {item.path: item.data for item in items() if item.path.startswith(f"{SITE}/")}
    assert {path.removeprefix(f"{SITE}/"): data for path, data in found.items()} == expected
