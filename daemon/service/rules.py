# SPDX-License-Identifier: Apache-2.0
"""The policy in force: loaded at start and when its files change, kept if the new one is bad."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agentcg.daemon.service.host.hostview import Memory
from agentcg.errors import AgentcgError
from agentcg.policies import DEFAULT, HostRule, Policy, load

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InForce:
    """A policy and what of it holds for this machine."""

    policy: Policy
    host: HostRule


class PolicyInForce:
    """`policy` is what decides now; `error` why the files on disk do not, if they do not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._now = InForce(DEFAULT, DEFAULT.host(Memory.total_bytes()))
        self._seen: object = None
        self.error: str | None = None
        self.reload()

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._now.policy

    @property
    def host(self) -> HostRule:
        """Bounds over all sessions on this machine."""
        return self._now.host

    def reload(self, apply: Callable[[], None] = lambda: None) -> bool:
        """Take the policy on disk if it holds and `apply` can; else keep the present one,
        entirely, and say so."""
        before = self._now
        self._seen = self._fingerprint()
        try:
            total = Memory.total_bytes()
            policy = load(self.directory, total) if self.directory.is_dir() else DEFAULT
            self._now = InForce(policy, policy.host(total))
            apply()
        except AgentcgError as error:
            self._now = before
            self.error = error.message
            log.error("policy not taken, %s stays in force: %s", self.policy.source, error.message)
            return False
        self.error = None
        log.info("policy in force: %s", self.policy.source)
        for warning in self.policy.warnings:
            log.warning("%s", warning)
        return True

    def has_changed(self) -> bool:
        """Whether the files are others than when they were last read."""
        return self._fingerprint() != self._seen

    def _fingerprint(self) -> object:
        """Names, sizes, times and places of the files; None where they cannot be listed."""
        try:
            with os.scandir(self.directory) as entries:
                return sorted(_identity(entry) for entry in entries if _is_policy(entry))
        except OSError:
            return None


def _is_policy(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".yaml") and not entry.name.startswith(".")


def _identity(entry: os.DirEntry[str]) -> tuple[object, ...]:
    try:
        found = entry.stat()
    except OSError:
        return (entry.name,)
    return (entry.name, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)
