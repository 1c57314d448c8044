# SPDX-License-Identifier: Apache-2.0
"""agentcgd's options, and what it tells systemd."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from agentcg.daemon.notify import Notifier
from agentcg.daemon.options import options


def test_defaults_are_those_of_the_units() -> None:
    """Without options the daemon is what systemd/ expects."""
    asked = options([])
    assert (asked.root, asked.bpf) == ("auto", "auto")
    assert asked.socket == Path("/run/agentcg/agentcg.sock")
    assert asked.require == {"memory", "cpu", "pids"}
    assert asked.state == Path("/var/lib/agentcg")


def test_history_has_a_place_and_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where systemd made a directory for it, or as asked, or nowhere; bounds as people write
    them."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/private/agentcg")
    assert options([]).state == Path("/var/lib/private/agentcg")
    assert options(["--state", "none"]).state is None
    asked = options(["--state", "/x", "--history-age", "7d", "--history-size", "256M"])
    assert (asked.state, asked.history_age, asked.history_size) == (Path("/x"), 604800.0, 256 << 20)


def test_require_takes_a_list_or_none() -> None:
    """Controllers by name; `none` for kernels that have none of them."""
    assert options(["--require", "none"]).require == frozenset()
    assert options(["--require", "memory,io"]).require == {"memory", "io"}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--require", "ram"],
        ["--require", ""],
        ["--bpf", "x"],
        ["--log-level", "x"],
        ["x"],
        ["--history-age", "soon"],
        ["--history-size", "1X"],
    ],
)
def test_wrong_options_end_with_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error is told apart from a host that will not do."""
    with pytest.raises(SystemExit) as caught:
        options(wrong)
    assert caught.value.code == 2
    assert "usage: agentcgd" in capsys.readouterr().err


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """systemd's end of the notification socket."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(tmp_path / "notify"))
    receiver.settimeout(60)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return receiver


def test_reload_carries_the_monotonic_time(manager: socket.socket) -> None:
    """Type=notify-reload compares it with the time at which it sent SIGHUP."""
    before = time.monotonic_ns() // 1000
    Notifier().reloading()
    lines = dict(line.split("=") for line in manager.recv(4096).decode().splitlines())
    assert lines["RELOADING"] == "1"
    assert before <= int(lines["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    manager.close()


async def test_watchdog_is_fed_twice_per_period(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interval is half of what systemd asks for, and only for this very process."""
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert Notifier()._interval_s == 1.5
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Notifier()._interval_s is None
    await Notifier().watchdog()  # returns: nobody asked for it
    manager.close()
