# SPDX-License-Identifier: Apache-2.0
"""Tasks that nobody awaits."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from agentcg.daemon.service.host import tasks


async def fails() -> None:
    raise RuntimeError("a bug")


async def waits() -> None:
    await asyncio.Event().wait()


async def test_an_error_is_logged_when_it_ends_a_task(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback, and not only when the daemon stops."""
    with suppress(RuntimeError):
        await tasks.start(fails(), "ladder")
    (told,) = caplog.records
    assert told.getMessage() == "the task ladder has ended by an error"
    assert told.exc_info is not None


async def test_a_task_that_is_cancelled_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """That is how all of them end."""
    task = tasks.start(waits(), "ladder")
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert caplog.records == []


async def test_as_long_as_work_computed_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a second of the processor, then a quarter of rest."""
    computed_s, rests_s = iter([1.0, 1.25]), []

    async def rest(seconds: float) -> None:
        rests_s.append(seconds)

    monkeypatch.setattr(tasks.time, "thread_time", lambda: next(computed_s))
    monkeypatch.setattr(tasks.asyncio, "sleep", rest)
    done: list[str] = []
    await tasks.in_turn(lambda: done.append("a look"))
    assert (done, rests_s) == (["a look"], [0.25])
