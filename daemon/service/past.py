# SPDX-License-Identifier: Apache-2.0
"""Calls wherever they are: live, ended a moment ago, or on disk."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from agentcg.daemon.history import Wanted
from agentcg.daemon.messages import ActionList, Call, Curve, HistoryList, HistoryQuery
from agentcg.daemon.service.accounts.curves import unpack
from agentcg.daemon.service.calls.calls import Calls
from agentcg.daemon.service.core import Core
from agentcg.daemon.service.enforce.ladder import Ladder
from agentcg.daemon.service.host.peers import Peer
from agentcg.daemon.service.state import LiveCall
from agentcg.errors import NotFound


class Past:
    """Answers what is asked of one call, or of those that have ended."""

    def __init__(self, core: Core, calls: Calls, ladder: Ladder) -> None:
        self._core = core
        self._calls = calls
        self._ladder = ladder

    async def history(self, peer: Peer, asked: HistoryQuery) -> HistoryList:
        """Ended calls that `peer` may see, from disk."""
        wanted = replace(self._visible(peer), **msgspec.structs.asdict(asked))
        return await self._core.history.calls(peer.uid, wanted)

    async def call(self, peer: Peer, call_id: str) -> Call:
        """One call: live, ended, or from disk. Raises `NotFound`."""
        try:
            return self._calls.get(peer, call_id)
        except NotFound:
            return await self._core.history.call(peer.uid, call_id, self._visible(peer))

    async def actions(self, peer: Peer, call_id: str) -> ActionList:
        """What was done to a call: live, ended, or from disk. Raises `NotFound`."""
        try:
            return self._ladder.of_call(peer, call_id)
        except NotFound:
            kept = await self._core.history.actions(peer.uid, call_id, self._visible(peer))
            return ActionList(actions=kept)

    async def curve(self, peer: Peer, call_id: str) -> Curve:
        """How the use of a call went: live, ended, or from disk. Raises `NotFound`."""
        try:
            call = self._core.authorised_call(peer, call_id)
        except NotFound:
            return await self._core.history.curve(peer.uid, call_id, self._visible(peer))
        if isinstance(call, LiveCall):
            view = self._calls.view(call)
            has_memory = view.account.memory_current_bytes is not None
            return unpack(self._core.packed_curve(call, has_memory), view)
        return unpack(call.curve, call.call)

    def _visible(self, peer: Peer) -> Wanted:
        """All of the history that `peer` may see."""
        if peer.admin:
            return Wanted()
        home = self._core.home(peer)
        return Wanted(owner=peer.uid, session_id=None if home is None else home.record.id)
