# SPDX-License-Identifier: Apache-2.0
"""Work that concerns all sessions: soon after something has changed, and in steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from agentcg.daemon.service.host import tasks

_STEPS = 32  # between two looks at requests


class Rounds:
    """Runs a round soon after it is asked for, and another one if it was asked for meanwhile: a
    burst of changes costs one or two. A round is what `steps` yields from."""

    def __init__(self, steps: Callable[[], Iterable[None]], name: str, pause_s: float) -> None:
        """`pause_s`: from the end of a round to the next, at least."""
        self._steps, self._name, self._pause_s = steps, name, pause_s
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Something has changed."""
        self._asked = True
        if self._task is None or self._task.done():
            self._task = tasks.start(self._run(), self._name)

    async def _run(self) -> None:
        while self._asked:
            self._asked = False
            for number, _ in enumerate(self._steps(), 1):
                if number % _STEPS == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(self._pause_s)

    def close(self) -> None:
        """Stop, in the middle of a round, too."""
        if self._task is not None:
            self._task.cancel()
