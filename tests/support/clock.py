# SPDX-License-Identifier: Apache-2.0
"""Time that only a test lets pass, so that a slow machine brings nothing about."""

from __future__ import annotations

import asyncio


class OwnClock:
    """Seconds, as a service asks for them; `later` lets some pass.

    A microsecond passes with each look: no two things happen at the same time.
    """

    def __init__(self, now_s: float) -> None:
        self._now_s = now_s

    def __call__(self) -> float:
        self._now_s += 1e-6
        return self._now_s

    def later(self, seconds: float) -> None:
        """Let so many pass."""
        self._now_s += seconds


async def settled() -> None:
    """Until nothing on the loop has anything to do any more; what waits for a thread may."""
    for _ in range(200):
        await asyncio.sleep(0)
