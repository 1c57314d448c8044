# SPDX-License-Identifier: Apache-2.0
"""Agents that nobody opened a session for: one of their own, if the policy says so (`adopt`).

An agent is told by the signature of its client; whose it is, and where it lives, is the kernel's
word. It is moved with the processes that it has started by then, out of wherever it was: a login's
scope, a unit, a user's manager; never out of a container. Its session is closed with its last
process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import msgspec

from agentcg.bpf import Sight
from agentcg.cgroups import find_mount
from agentcg.cgroups.origin import origin
from agentcg.daemon.messages import OpenSession
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.host import procfs
from agentcg.daemon.service.host.peers import Peer, cgroup_of, is_below
from agentcg.daemon.service.records import SESSION_MARK, encode
from agentcg.daemon.service.sessions import Sessions
from agentcg.daemon.service.state import LiveSession
from agentcg.errors import AgentcgError
from agentcg.policies.signatures import Client, ProcessFacts, Signatures

log = logging.getLogger(__name__)

CLIENT_LABEL = "client"
"""Label of a session that names its client."""
SILENT_S = 86400.0
"""After so long without a call or a change of phase an agent that lives elsewhere is gone."""
_SWEEPS = 8  # children that are born meanwhile come with the next one
_ROOT = Peer(0, 0, True, lambda: None)


class Adopting:
    """Opens sessions for agents that run outside of all sessions, and closes them."""

    def __init__(self, core: Core, sessions: Sessions, signatures: Signatures) -> None:
        self._core = core
        self._sessions = sessions
        self._signatures = signatures
        self._tasks: set[asyncio.Task[None]] = set()
        self._mount = str(find_mount().path)

    def survey(self) -> None:
        """Agents that were there before the daemon."""
        names = {name[:15] for name in self._signatures.agent_names}
        root = str(self._core.root.cgroup.path)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                sight = procfs.sight(int(entry.name), 0)
                if sight is not None and sight.comm in names:
                    path = cgroup_of(sight.pid, self._mount)
                    if path is not None and not is_below(path, root):
                        self.saw(sight)

    def saw(self, sight: Sight) -> None:
        """A program of a name that agents have was executed somewhere."""
        facts = ProcessFacts(sight.comm, sight.argv, sight.environment, sight.sid == sight.pid)
        client = self._signatures.agent(facts)
        if client is not None:
            task = asyncio.get_running_loop().create_task(self._adopt(sight, client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _adopt(self, sight: Sight, client: Client) -> None:
        if procfs.start_ticks(sight.pid) != sight.start_ticks:
            return  # it has ended, and its number may be another's
        peer = Peer(sight.uid, sight.pid, False, lambda: None)
        name = f"{client.name}-{sight.pid}"
        request = OpenSession(name=name, labels={CLIENT_LABEL: client.name}, pids=[sight.pid])
        try:
            if name in self._core.registry.sessions or not self._sessions.adopts(peer, request):
                return
            await self.take(peer, request, sight.pid, closes=True)
        except AgentcgError as error:
            log.warning("%s (pid %d) is not adopted: %s", client.name, sight.pid, error)

    async def take(
        self, peer: Peer, request: OpenSession, agent: int, *, closes: bool
    ) -> LiveSession:
        """Open the session for an agent that is among its pids, and bring in what it has started.

        `closes`: the session is closed with its last process. Raises as opening a session does.
        """
        await self._sessions.open(peer, request)
        session = self._core.registry.session(request.name)
        if closes:
            session.record = msgspec.structs.replace(session.record, adopted=True)
            session.cgroup.set_attr(SESSION_MARK, encode(session.record))
        await self._sweep(peer, session, agent)
        return session

    async def _sweep(self, peer: Peer, session: LiveSession, pid: int) -> None:
        """Move what the agent started before it was moved itself."""
        for _ in range(_SWEEPS):
            inside = set(session.runtime.procs())
            outside = [child for child in procfs.descendants(pid) if child not in inside]
            outside = [child for child in outside if self._goes_along(child)]
            if not outside:
                return
            for child in outside:
                request = OpenSession(name=session.name, pids=[child])
                with contextlib.suppress(AgentcgError):  # it has ended
                    await self._sessions.open(peer, request)

    def _goes_along(self, pid: int) -> bool:
        """Whether a process is moved with its agent: not out of a session or call, and never out
        of a container."""
        path = cgroup_of(pid, self._mount)
        if path is None or is_below(path, str(self._core.root.cgroup.path)):
            return False
        return origin(path.removeprefix(self._mount)).container is None

    async def tick(self) -> None:
        """Close sessions that were opened for an agent that is gone."""
        for session in list(self._core.registry.sessions.values()):
            record = session.record
            if (record.adopted or record.distant) and not (session.placing or session.closing):
                with contextlib.suppress(AgentcgError):
                    if self._is_over(session):
                        await self._sessions.close(_ROOT, session.name, kill=False)

    def _is_over(self, session: LiveSession) -> bool:
        """Whether nothing lives in it and, where nothing ever did, nothing was heard for long."""
        if session.cgroup.events().populated:
            return False
        heard_at = max(session.active_at, session.phase_since)
        silent = self._core.clock() - heard_at > SILENT_S
        return not session.record.distant or (silent and not session.calls_running)
