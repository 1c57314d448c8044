# SPDX-License-Identifier: Apache-2.0
"""Threads that give way."""

from __future__ import annotations

import os
import threading

from agentcg.daemon.service.host.threads import NICE, workers


def _nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_workers_give_way_and_nobody_else_does() -> None:
    """What they start does, too; the thread that made them goes on as it was."""
    before = _nice()
    with workers(1, "reclaim") as threads, workers(1, "inner") as own:
        assert threads.submit(_nice).result() == NICE
        found: list[int] = []

        def start_another() -> None:
            other = threading.Thread(target=lambda: found.append(_nice()))
            other.start()
            other.join()

        threads.submit(start_another).result()
        assert found == [NICE]
        assert own.submit(_nice).result() == NICE
    assert _nice() == before
