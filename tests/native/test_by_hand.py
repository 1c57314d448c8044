# SPDX-License-Identifier: Apache-2.0
"""Freezing, thawing and killing a call by hand: what it does, who may, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.cgroups import Cgroup
from agentcg.daemon.service.enforce.release import LADDER_MARK
from cgroup_support import process, until
from daemon_support import Daemon, as_user, fresh, own_daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


def frozen(cgroup: str) -> bool:
    return "frozen 1" in Path(cgroup, "cgroup.events").read_text()


def test_a_call_is_frozen_and_goes_on(daemon: Daemon) -> None:
    """The kernel stops it, its session is paused, thawing undoes both; each step is explained with
    who took it."""
    name = fresh()
    daemon.open(name)
    with process() as tool:
        call = daemon.begin(name, pid=tool.pid)
        where = f"/v1/calls/{call['id']}"
        daemon.good("POST", f"{where}/freeze")
        until(lambda: frozen(call["cgroup"]))
        assert daemon.get(f"/v1/sessions/{name}")["phase"] == "paused"
        assert daemon.ask("POST", f"{where}/freeze").status == 409
        daemon.good("POST", f"{where}/thaw")
        until(lambda: not frozen(call["cgroup"]))
        assert daemon.get(f"/v1/sessions/{name}")["phase"] == "calling"
        steps = [a for a in daemon.get(f"{where}/actions")["actions"] if a["rule"] == "by hand"]
        assert [step["kind"] for step in steps] == ["freeze", "thaw"]
        assert all(step["reason"].startswith("uid 0 (pid ") for step in steps)


def test_it_stays_frozen_whatever_becomes_of_the_daemon(daemon: Daemon) -> None:
    """Also where the ladder had frozen it, too: the next daemon lets its own hold go alone, and
    still knows who else has one."""
    name = fresh()
    daemon.open(name)
    with process() as tool:
        call = daemon.begin(name, pid=tool.pid)
        where = f"/v1/calls/{call['id']}"
        daemon.good("POST", f"{where}/freeze")
        with Cgroup.open(Path(call["cgroup"])) as leaf:
            leaf.set_attr(LADDER_MARK, b"frozen")
            until(lambda: leaf.events().frozen)
            daemon.restart()
            assert leaf.get_attr(LADDER_MARK) is None
        assert frozen(call["cgroup"])
        assert daemon.get(f"/v1/sessions/{name}")["phase"] == "paused"
        assert daemon.ask("POST", f"{where}/freeze").status == 409
        daemon.good("POST", f"{where}/thaw")
        until(lambda: not frozen(call["cgroup"]))


def test_a_frozen_call_is_killed(daemon: Daemon) -> None:
    """All its processes end, and the agent is told that a person did it, not its memory."""
    name = fresh()
    daemon.open(name)
    with process() as tool:
        call = daemon.begin(name, pid=tool.pid)
        daemon.good("POST", f"/v1/calls/{call['id']}/freeze")
        daemon.good("POST", f"/v1/calls/{call['id']}/kill")
        assert tool.wait() == -9
    until(lambda: daemon.get(f"/v1/calls/{call['id']}")["state"] == "ended")
    ended = daemon.get(f"/v1/calls/{call['id']}")
    assert ended["end_reason"] == "killed"
    told = next(one for one in ended["feedback"] if one["code"] == "killed")
    assert "killed the call by hand" in told["text"]
    assert daemon.ask("POST", f"/v1/calls/{call['id']}/kill").status == 409


@pytest.mark.parametrize("what", ["freeze", "thaw", "kill"])
def test_not_by_others(daemon: Daemon, what: str) -> None:
    """Another user may do none of it, and nothing happens."""
    name = fresh()
    daemon.open(name)
    with process() as tool:
        call = daemon.begin(name, pid=tool.pid)
        status = as_user(4242, lambda: daemon.ask("POST", f"/v1/calls/{call['id']}/{what}").status)
        assert status == 403
        assert tool.poll() is None
        assert not frozen(call["cgroup"])
