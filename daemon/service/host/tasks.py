# SPDX-License-Identifier: Apache-2.0
"""Tasks that run beside requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine

log = logging.getLogger(__name__)


def start(work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
    """Run `work` on the loop. An error that ends it is logged at once: nobody awaits it before
    the daemon stops."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_tell)
    return task


async def in_turn(work: Callable[[], None]) -> None:
    """Do `work`, and leave the loop to others for as long as it has computed: however often it is
    asked for, requests have half of the time."""
    began_s = time.thread_time()
    work()
    await asyncio.sleep(time.thread_time() - began_s)


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the task %s has ended by an error", task.get_name(), exc_info=error)
