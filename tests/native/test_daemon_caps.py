# SPDX-License-Identifier: Apache-2.0
"""Caps of a user and a tenant over all their sessions, in a running daemon."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cgroup_support import until
from daemon_support import PATIENCE_S, Daemon, as_user, fresh, own_daemon

MIB = 1 << 20
POLICY = """\
version: 1
users:
  - match: {uid: 4501}
    max_calls: 2
tenants:
  - match: {name: acme}
    memory_max: 600M
sessions:
  - match: {labels: {team: crew}}
    tenant: acme
"""
SOMEBODY = 4501


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as running:
        (running.policies / "50-site.yaml").write_text(POLICY)
        running.restart()
        yield running


def of_crew(daemon: Daemon) -> str:
    """A new session of tenant acme."""
    name = fresh()
    assert daemon.open(name, labels={"team": "crew"})["tenant"] == "acme"
    return name


def needing(daemon: Daemon, session: str, mib: int, **fields: object) -> Any:
    """The answer to a begin that declares so much."""
    body = {"tool": "Bash", "memory_bytes": mib * MIB, **fields}
    return daemon.ask("POST", f"/v1/sessions/{session}/calls", body)


def test_a_tenants_memory_is_one_budget(daemon: Daemon) -> None:
    """A call of one session leaves less for those of the other; the problem says what would fit,
    and that is let in. A restart of the daemon changes nothing. Others are not concerned."""
    one, other = of_crew(daemon), of_crew(daemon)
    first = needing(daemon, one, 400)
    refused = needing(daemon, other, 300)
    assert refused.status == 429
    assert refused.body["type"] == "urn:agentcg:limit-exceeded"
    assert refused.body["detail"] == (
        "the call needs 300M, and of the 600M that all sessions of tenant acme may use 200M are "
        "free"
    )
    assert refused.body["remedy"].startswith("a declared need of at most 200M fits now; or end one")
    assert "50-site.yaml:7" in refused.body["remedy"]
    daemon.restart()
    assert needing(daemon, other, 300).status == 429
    fits = needing(daemon, other, 200)
    outside = needing(daemon, daemon.open(fresh())["name"], 300)
    assert (fits.status, outside.status) == (201, 201)
    for call in (first, fits, outside):
        daemon.end(call.body["id"])


def test_a_call_may_wait_for_its_tenants_others(daemon: Daemon) -> None:
    """High priority or not; it begins as soon as the other call has ended, and is told."""
    one, name = of_crew(daemon), fresh()
    daemon.open(name, labels={"team": "crew"}, priority="high")
    first = needing(daemon, one, 400).body
    answers: list[Any] = []
    waiting = threading.Thread(
        target=lambda: answers.append(needing(daemon, name, 300, wait_s=PATIENCE_S)), daemon=True
    )
    waiting.start()
    until(lambda: daemon.get("/v1/host")["calls_waiting"])
    assert not answers
    daemon.end(first["id"])
    waiting.join(PATIENCE_S)
    assert answers[0].status == 201
    assert answers[0].body["grant"]["waited_s"] > 0
    daemon.end(answers[0].body["id"])


def test_a_users_calls_are_counted_over_its_sessions(daemon: Daemon) -> None:
    """Two at once, in whichever sessions; the third is refused, root's are not."""

    def as_somebody() -> list[int]:
        names = [daemon.open(fresh())["name"] for _ in range(3)]
        return [needing(daemon, name, 16).status for name in names]

    assert as_user(SOMEBODY, as_somebody) == [201, 201, 429]
    assert needing(daemon, daemon.open(fresh())["name"], 16).status == 201


def test_waiting_and_every_grant_are_explained(daemon: Daemon) -> None:
    """A wait and what it was for, the grant with its rule, and the new one that was asked for."""
    one, other = of_crew(daemon), of_crew(daemon)
    first = needing(daemon, one, 400).body
    threading.Timer(0.5, lambda: daemon.end(first["id"])).start()
    call = needing(daemon, other, 300, wait_s=PATIENCE_S).body["id"]
    daemon.good("PATCH", f"/v1/calls/{call}", {"memory_bytes": 100 * MIB})
    wait, granted, again = daemon.get(f"/v1/calls/{call}/actions")["actions"]
    assert [wait["kind"], granted["kind"], again["kind"]] == ["wait", "grant", "grant"]
    assert "of the 600M that all sessions of tenant acme may use 200M are free" in wait["reason"]
    assert wait["time"] < granted["time"] <= again["time"]
    assert wait["rule"].startswith("default.yaml:")
    assert granted["reason"].startswith("300M declared; slowed beyond 450M")
    assert again["reason"].startswith("100M declared; slowed beyond 150M")
    assert granted["rule"].startswith("default.yaml:")
    daemon.end(call)
