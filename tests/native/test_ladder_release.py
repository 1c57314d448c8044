# SPDX-License-Identifier: Apache-2.0
"""Nobody stays held back by a daemon that is not there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentcg.cgroups import Cgroup
from agentcg.daemon.service.enforce.release import LADDER_MARK
from cgroup_support import process, until
from daemon_support import Daemon, own_daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon("--require", "none", "--bpf", "off", "--no-guard") as running:
        yield running


@contextmanager
def held_back(daemon: Daemon, name: str) -> Iterator[dict[str, Any]]:
    """A call that is frozen with the ladder's mark."""
    with process() as tool:
        daemon.open(name)
        call: dict[str, Any] = daemon.begin(name, pid=tool.pid)
        with Cgroup.open(Path(call["cgroup"])) as leaf:
            leaf.set_attr(LADDER_MARK, b"frozen")
            leaf.freeze(True)
            until(lambda: leaf.events().frozen)
        yield call


def state(call: dict[str, Any]) -> tuple[bool | None, bytes | None]:
    with Cgroup.open(Path(call["cgroup"])) as leaf:
        return leaf.events().frozen, leaf.get_attr(LADDER_MARK)


def release(daemon: Daemon) -> subprocess.CompletedProcess[str]:
    return subprocess.run(daemon.command("--release"), check=False, capture_output=True, text=True)


def test_restarted_daemon_lets_go(daemon: Daemon) -> None:
    """After kill -9 the next daemon thaws what carries the mark, and goes on with the call."""
    with held_back(daemon, "restart") as call:
        daemon.restart()
        assert state(call) == (False, None)
        assert daemon.get(f"/v1/calls/{call['id']}")["state"] == "running"


def test_release_lets_go_without_a_daemon(daemon: Daemon) -> None:
    """`agentcgd --release` does so where no daemon comes back; not beside one that is alive."""
    with held_back(daemon, "release") as call:
        refused = release(daemon)
        assert refused.returncode == 3
        assert "another agentcgd works on" in refused.stderr
        assert state(call)[0]
        daemon.kill()
        done = release(daemon)
        assert (done.returncode, state(call)) == (0, (False, None))
        assert "that a daemon that is gone held back: 1" in done.stderr
        daemon.start()


def test_what_was_frozen_by_others_stays_frozen(daemon: Daemon) -> None:
    """Without the mark it is not ours to thaw."""
    with held_back(daemon, "others") as call:
        with Cgroup.open(Path(call["cgroup"])) as leaf:
            leaf.remove_attr(LADDER_MARK)
        daemon.restart()
        assert state(call) == (True, None)
        with Cgroup.open(Path(call["cgroup"])) as leaf:
            leaf.freeze(False)


def test_a_guard_lets_go_where_no_daemon_comes_back() -> None:
    """Without a service manager: what is frozen goes on after kill -9, and by itself."""
    with own_daemon() as daemon, held_back(daemon, "guarded") as call:
        daemon.kill()
        until(lambda: state(call) == (False, None))
        daemon.start()


def test_nothing_to_release(tmp_path: Path) -> None:
    """A root that does not exist holds nobody back."""
    nowhere = Daemon(Path("/sys/fs/cgroup/none/sessions"), tmp_path, tmp_path)
    assert release(nowhere).returncode == 0
