# SPDX-License-Identifier: Apache-2.0
"""The policy in force: loaded at start, loaded again on SIGHUP, kept if the new one is bad."""

from __future__ import annotations

import logging
from pathlib import Path

from agentcg.daemon.service.hostview import Memory
from agentcg.errors import PolicyError
from agentcg.policies import DEFAULT, HostRule, Policy, load

log = logging.getLogger(__name__)


class PolicyInForce:
    """`policy` is what decides now; `error` why the files on disk do not, if they do not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.policy: Policy = DEFAULT
        self.error: str | None = None
        self.host: HostRule = DEFAULT.host(Memory.total_bytes())
        """Bounds over all sessions on this machine."""
        self.reload()

    def reload(self) -> bool:
        """Take the policy on disk if it holds; else keep the present one and say so."""
        try:
            self.policy = load(self.directory) if self.directory.is_dir() else DEFAULT
        except PolicyError as error:
            self.error = error.message
            log.error("policy not taken, %s stays in force: %s", self.policy.source, error.message)
            return False
        self.error = None
        self.host = self.policy.host(Memory.total_bytes())
        log.info("policy in force: %s", self.policy.source)
        return True
