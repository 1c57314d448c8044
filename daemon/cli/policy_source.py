# SPDX-License-Identifier: Apache-2.0
"""The policy that a command speaks of: of a file, in force in the daemon, or on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agentcg.daemon.client import Client
from agentcg.errors import Forbidden, PolicyError, Unavailable
from agentcg.policies import Policy, from_texts, load

DIRECTORY = Path("/etc/agentcg/policies.d")


@dataclass(frozen=True)
class Found:
    """A policy, in words where it comes from, and why newer files are not in force, if so."""

    policy: Policy
    origin: str
    error: str | None = None


def of_path(path: Path) -> Found:
    """The policy of a file or directory; raises `PolicyError`."""
    if not path.exists():
        raise PolicyError(f"{path}: No such file or directory")
    return Found(load(path), str(path))


def in_force(client: Client) -> Found:
    """The daemon's policy. Where it is not there, or does not tell everybody, what is on disk."""
    try:
        answer = client.policy()
    except Unavailable:
        found = load(DIRECTORY)
        return Found(found, f"the daemon is not there; it would read {DIRECTORY}")
    except Forbidden:
        health = client.health()
        found = load(Path(health.policy) if health.policy.startswith("/") else DIRECTORY)
        origin = f"{health.policy}, as it is on disk (root and group agentcg see what is in force)"
        return Found(found, origin, health.policy_error)
    texts = [(file.name, file.text) for file in answer.files]
    return Found(from_texts(texts, answer.source), f"in force: {answer.source}", answer.error)
