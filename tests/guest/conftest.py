# SPDX-License-Identifier: Apache-2.0
"""Settings of all tests in the guest."""

from __future__ import annotations

import compileall
from pathlib import Path

import pytest

import agentcg


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the project once, as `pip install` does.

    The daemon's unit cannot write where it is installed, so it would do so at every start.
    """
    compileall.compile_dir(Path(agentcg.__file__).parent, quiet=1)
