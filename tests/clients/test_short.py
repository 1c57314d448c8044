# SPDX-License-Identifier: Apache-2.0
"""Two real clients, a few calls each: part of `make test`."""

from __future__ import annotations

import pytest

from clients.catalogue import CLIENTS
from clients.run import run
from daemon_support import Daemon


@pytest.mark.parametrize("name", ["claude-code", "mini-swe-agent"])
def test_every_call_of_the_client_is_found(name: str, daemon: Daemon) -> None:
    """Of twelve calls, two of them at once, each is found once, and nothing else is."""
    outcome = run(daemon, CLIENTS[name], 12)
    assert outcome.status == 0, outcome.log
    assert (outcome.recall, outcome.precision) == (1.0, 1.0), outcome.told()
