# SPDX-License-Identifier: Apache-2.0
"""A daemon that detects, for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentcg.bpf import Accounting
from daemon_support import Daemon, fresh, own_daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    pins = f"/sys/fs/bpf/{fresh('agentcg-test')}"
    with own_daemon("--require", "none", "--bpf", "on", "--pins", pins) as running:
        yield running
    Accounting.open(pins).unpin()
