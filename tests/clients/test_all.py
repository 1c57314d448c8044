# SPDX-License-Identifier: Apache-2.0
"""All clients with 34 calls each (`make test-clients`); writes .cache/clients/table.md.

AGENTCG_CLIENTS_LATEST=1 takes the newest versions (`make clients-latest`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.catalogue import CLIENTS
from clients.run import run
from clients.table import HEAD, row
from daemon_support import Daemon

CALLS = 34
LATEST = os.environ.get("AGENTCG_CLIENTS_LATEST") == "1"


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    lines: list[str] = []
    yield lines
    path = Path(".cache/clients/table.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*HEAD, *lines, ""]))


@pytest.mark.parametrize("name", CLIENTS)
def test_every_call_of_the_client_is_found(name: str, daemon: Daemon, table: list[str]) -> None:
    """At least 99% of the calls are found, and at least 99% of what is found is one call."""
    outcome = run(daemon, CLIENTS[name], CALLS, latest=LATEST)
    table.append(row(CLIENTS[name], outcome))
    assert outcome.status == 0, outcome.log
    assert outcome.recall >= 0.99, outcome.told()
    assert outcome.precision >= 0.99, outcome.told()
