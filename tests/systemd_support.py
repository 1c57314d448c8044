# SPDX-License-Identifier: Apache-2.0
"""The daemon as systemd runs it on the machine under test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon_support import Api

SOCKET = Path("/run/agentcg/agentcg.sock")
POLICIES = Path("/etc/agentcg/policies.d")
PATIENCE_S = 300.0  # the guest is emulated; only ever spent by a failure


def systemctl(*arguments: str) -> str:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def accounting(daemon: Api) -> str:
    try:
        return str(daemon.get("/v1/health")["accounting"])
    except OSError:
        return "starting"


@contextmanager
def policy(text: str) -> Iterator[None]:
    """A site's policy, in force within the block."""
    POLICIES.mkdir(parents=True, exist_ok=True)
    path = POLICIES / "50-test.yaml"
    path.write_text(text)
    try:
        systemctl("reload", "agentcgd")
        yield
    finally:
        path.unlink()
        systemctl("reload", "agentcgd")


def knob(path: str, name: str) -> str:
    return (Path(path) / name).read_text().strip()
