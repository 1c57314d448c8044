# SPDX-License-Identifier: Apache-2.0
"""A daemon that detects, for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daemon_support import Daemon, daemon_with_bpf


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with daemon_with_bpf() as running:
        yield running
