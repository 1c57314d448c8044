# SPDX-License-Identifier: Apache-2.0
"""What a user has of the server now; kept while the user has a connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from agentcg.daemon.api import bounds


@dataclass(slots=True, eq=False)
class Quota:
    """Counts of one uid, against `bounds`."""

    connections: int = 0
    requests: int = 0  # being answered
    large_bodies: int = 0  # that arrive
    large_answers: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(bounds.LARGE_ANSWERS_PER_UID)
    )
    _begun: int = 0  # in this turn of the loop
    _line: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def turn(self) -> None:
        """Wait until the user may have a request answered: a few in each turn of the loop, so that
        thousands at once do not hold up those of others."""
        if self.connections <= bounds.REQUESTS_PER_TURN:
            return  # each has one request at a time, and nothing is counted for most users
        if self._begun == 0:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._begun += 1
        if self._begun > bounds.REQUESTS_PER_TURN:
            async with self._line:
                await asyncio.sleep(0)

    def _next_turn(self) -> None:
        self._begun = 0
