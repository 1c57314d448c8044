# SPDX-License-Identifier: Apache-2.0
"""The package as others import it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agentcg import cgroups


def test_every_public_name_is_there() -> None:
    """Names are loaded on first use, and each is the one of its module."""
    assert all(getattr(cgroups, name) is not None for name in cgroups.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        cgroups.no_such_name  # noqa: B018 - the access is the test


def test_a_birth_does_not_load_the_rest() -> None:
    """`agentcg run` stands before every call: it loads what it needs and no more."""
    code = (
        "import sys; from agentcg.cgroups import fork_into; "
        "print(*sorted(name for name in sys.modules if name.startswith('agentcg.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["agentcg.cgroups", "agentcg.cgroups.clone"]
