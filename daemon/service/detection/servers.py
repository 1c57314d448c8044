# SPDX-License-Identifier: Apache-2.0
"""Servers of tools (MCP): a leaf `mcp-<n>` for each, for as long as processes live in it."""

from __future__ import annotations

from contextlib import suppress

from agentcg.cgroups import Cgroup
from agentcg.daemon.engine.sights import Key
from agentcg.daemon.service import bounds
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.records import SERVER_MARK, ServerRecord, decode, encode
from agentcg.daemon.service.state import LiveServer, LiveSession
from agentcg.errors import CgroupError, CgroupGone, LimitExceeded

PREFIX = "mcp-"


class Servers:
    """Leaves of servers. A server is no call: it has neither grant nor account, and an agent that
    keeps one waits for its model all the same."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._leaves: dict[tuple[str, Key], str] = {}

    def start(self, session: LiveSession, process: Key, command: str) -> Cgroup:
        """A leaf for the server that began with `process`. Raises LimitExceeded, CgroupError."""
        if len(session.servers) >= bounds.SERVERS_PER_SESSION_MAX:
            raise LimitExceeded(f"session {session.name!r} has {len(session.servers)} servers")
        number = 1
        while f"{PREFIX}{number}" in session.servers:
            number += 1
        name = f"{PREFIX}{number}"
        leaf = session.cgroup.create(name)
        record = ServerRecord(command=command, started_at=self._core.clock())
        leaf.set_attr(SERVER_MARK, encode(record))
        session.servers[name] = LiveServer(record, leaf)
        self._leaves[session.name, process] = name
        return leaf

    def find(self, session: LiveSession, process: Key) -> Cgroup | None:
        """The leaf of the server whose first process that was."""
        server = session.servers.get(self._leaves.get((session.name, process), ""))
        return None if server is None else server.cgroup

    def tick(self, session: LiveSession) -> None:
        """Remove leaves in which nothing lives any more."""
        for name, server in list(session.servers.items()):
            if self._core.clock() - server.record.started_at < bounds.TICK_S:
                continue  # its process may be on its way
            with suppress(CgroupError):
                if not server.cgroup.events().populated:
                    session.cgroup.remove(name, timeout_s=0)
                    self._drop(session, name)

    def _drop(self, session: LiveSession, name: str) -> None:
        session.servers.pop(name).cgroup.close()
        for key in [key for key, leaf in self._leaves.items() if key[0] == session.name]:
            if self._leaves[key] == name:
                del self._leaves[key]


def adopt(session: LiveSession) -> None:
    """Servers that an earlier daemon gave a leaf."""
    for name in session.cgroup.children():
        if name.startswith(PREFIX):
            with suppress(CgroupGone):
                leaf = session.cgroup.child(name)
                raw = leaf.get_attr(SERVER_MARK)
                if raw is None:
                    leaf.close()
                    continue
                record = decode(raw, ServerRecord, str(leaf.path))
                session.servers[name] = LiveServer(record, leaf)
