# SPDX-License-Identifier: Apache-2.0
"""Policies in a running daemon: read again by themselves, and asked where a session came from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from agentcg.cgroups import Cgroup
from cgroup_support import exit_status, own_cgroup, process, until
from daemon_support import Daemon, Stream, fresh, own_daemon, stream

CONTAINER = "4f2a" * 16


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        yield running


def weight_of_new(daemon: Daemon) -> int:
    """The weight that a session gets that is opened now."""
    return int(daemon.open(fresh())["weight"])


def told(events: Stream) -> Any:
    """The next event about the policy."""
    while True:
        (event,) = events.take(1)
        if event["kind"].startswith("policy."):
            return event


def test_a_file_takes_effect_by_itself(daemon: Daemon) -> None:
    """Dropped, changed, spoilt, mended and removed: each holds without a word to the daemon, and
    a bad file changes nothing, is named in health, and is told on the stream."""
    policy = daemon.policies / "10.yaml"
    with stream(daemon) as events:
        policy.write_text("version: 1\nsessions: [{weight: 321}]\n")
        assert told(events)["kind"] == "policy.reloaded"
        assert weight_of_new(daemon) == 321

        policy.write_text("version: 1\nsessions: [{weight: 322}, {weight: 323}]\n")
        assert told(events)["kind"] == "policy.reloaded"
        (warning,) = daemon.get("/v1/health")["policy_warnings"]
        assert warning.startswith("10.yaml:2:36: warning: sessions[1].weight: '323': never decides")

        policy.write_text("version: 1\nextends: 10.yaml\nsessions: [{weight: 7}]\n")
        event = told(events)
        assert event["kind"] == "policy.rejected"
        assert "10.yaml:2:10: extends: '10.yaml' is not valid: goes round" in event["text"]
        assert daemon.get("/v1/health")["policy_error"] == event["text"]
        assert weight_of_new(daemon) == 322

        policy.write_text("version: 1\nsessions: [{weight: 8}]\n")
        assert told(events)["kind"] == "policy.reloaded"
        assert daemon.get("/v1/health")["policy_error"] is None
        assert weight_of_new(daemon) == 8

        policy.unlink()
        assert told(events)["kind"] == "policy.reloaded"
        assert weight_of_new(daemon) == 100


def test_a_directory_that_comes_later_is_read(daemon: Daemon) -> None:
    """The directory can be removed and made again; without it the built-in policy is in force."""
    (daemon.policies / "10.yaml").write_text("version: 1\nsessions: [{weight: 5}]\n")
    until(lambda: weight_of_new(daemon) == 5)
    shutil.rmtree(daemon.policies)
    until(lambda: daemon.get("/v1/health")["policy"] == "built-in default")
    daemon.policies.mkdir()
    (daemon.policies / "10.yaml").write_text("version: 1\nsessions: [{weight: 6}]\n")
    until(lambda: weight_of_new(daemon) == 6)
    (daemon.policies / "10.yaml").unlink()
    until(lambda: weight_of_new(daemon) == 100)


def test_where_a_session_came_from_decides_and_survives(daemon: Daemon) -> None:
    """Rules match on the container and cgroup in which the agent lived before it was moved; the
    daemon knows them after a restart, too."""
    (daemon.policies / "10.yaml").write_text(
        "version: 1\n"
        "sessions:\n"
        "  - match: {container: '4f2a*', cgroup: '/*/docker-*.scope'}\n"
        "    tenant: acme\n"
        "    weight: 77\n"
    )
    until(lambda: "policies" in daemon.get("/v1/health")["policy"])
    name = fresh()
    with own_cgroup() as parent, process() as agent:
        with parent.create(f"docker-{CONTAINER}.scope") as scope:
            scope.place(agent.pid)
            session = daemon.open(name, pids=[agent.pid])
        assert (session["weight"], session["tenant"]) == (77, "acme")
        assert session["container"] == CONTAINER
        assert session["from_cgroup"] == f"/{parent.path.name}/docker-{CONTAINER}.scope"
        daemon.restart()
        again = daemon.get(f"/v1/sessions/{name}")
        for field in ("weight", "tenant", "container", "from_cgroup", "from_unit", "image"):
            assert again[field] == session[field]
    (daemon.policies / "10.yaml").unlink()


def test_a_session_without_pids_comes_from_where_its_opener_is(daemon: Daemon) -> None:
    """Who opens a session before its agent starts is where the agent is taken to come from."""
    name = fresh()

    def open_from(cgroup: Cgroup) -> None:
        cgroup.place(os.getpid())
        daemon.open(name)

    with own_cgroup() as parent, parent.create("opener") as cgroup:
        assert exit_status(lambda: open_from(cgroup)) == 0
        where = f"/{parent.path.name}/opener"
    assert daemon.get(f"/v1/sessions/{name}")["from_cgroup"] == where
