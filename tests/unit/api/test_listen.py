# SPDX-License-Identifier: Apache-2.0
"""The listening socket: taken only where nobody is in the way."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agentcg.daemon.api import listen
from agentcg.errors import StartupError


def test_everybody_may_connect(tmp_path: Path) -> None:
    """The file's mode lets anybody in; credentials decide later."""
    with listen.bind(tmp_path / "s"):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o666


def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A file on which nobody answers is removed."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with listen.bind(path) as fresh:
        fresh.listen()
        assert listen.answers(path)


def test_living_daemon_keeps_its_socket(tmp_path: Path) -> None:
    """A file on which somebody answers is not touched."""
    path = tmp_path / "s"
    with listen.bind(path) as first:
        first.listen()
        with pytest.raises(StartupError, match="another daemon listens"):
            listen.bind(path)
        assert listen.answers(path)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_not_touched(tmp_path: Path, kind: str) -> None:
    """Neither a file nor a directory nor what a link points at is replaced."""
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("x")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartupError, match="not a socket"):
        listen.bind(path)
    assert path.is_symlink() or path.exists()


@pytest.mark.parametrize("name", ["none/s", "x" * 120])
def test_impossible_paths_are_said(tmp_path: Path, name: str) -> None:
    """A missing directory, and a path beyond what a socket's address holds."""
    with pytest.raises(StartupError, match="cannot listen on"):
        listen.bind(tmp_path / name)


def test_socket_of_systemd_is_taken_over(tmp_path: Path) -> None:
    """Descriptor 3 is the socket if LISTEN_PID is this process."""
    code = (
        "import os; os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "from agentcg.daemon.api import listen\n"
        "print(listen.inherited().getsockname(), os.environ.get('LISTEN_FDS'))"
    )
    path = tmp_path / "s"
    with listen.bind(path) as handed:
        handed.listen()
        script = f'exec {sys.executable} -c "$CODE" 3<&{handed.fileno()}'
        done = subprocess.run(
            ["bash", "-c", script], pass_fds=[handed.fileno()], capture_output=True, text=True,
            env={**os.environ, "LISTEN_FDS": "1", "CODE": code}, check=True,
        )  # fmt: skip
    assert done.stdout == f"{path} None\n"


def test_socket_meant_for_another_process_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables inherited from a parent's activation are not ours."""
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert listen.inherited() is None
