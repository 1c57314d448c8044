# SPDX-License-Identifier: Apache-2.0
"""Loading of what delays and schedules: off the loop, and decided whatever happens."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.bpf.memcg_ops import FORMS, Form
from agentcg.cgroups import Cgroup
from agentcg.daemon.service.scheduler import memcg, scheduling
from agentcg.daemon.service.scheduler.memcg import KernelDelay
from agentcg.daemon.service.scheduler.scheduling import Scheduling
from agentcg.errors import BpfError


class Ops:
    """Attached programs."""

    budgets = "the budgets"
    form = FORMS[0]

    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


class Kernel:
    """A kernel that has `form`, and attaches with `attach`; counts how often it was probed."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, form: Form | str, attach: Callable[[], Ops]
    ) -> None:
        self.probed = 0
        self.threads: set[int] = set()
        self._form, self._attach = form, attach
        monkeypatch.setattr(memcg, "probe", self.probe)
        monkeypatch.setattr(memcg, "MemcgOps", SimpleNamespace(open=self.open))

    def probe(self) -> Form | str:
        self.threads.add(threading.get_ident())
        self.probed += 1
        return self._form

    def open(self, form: Form, root_fd: int) -> Ops:
        self.threads.add(threading.get_ident())
        assert form == self._form
        os.fstat(root_fd)  # open as long as it is needed
        return self._attach()


def core(started: list[object]) -> Any:
    here = Path()
    root = SimpleNamespace(cgroup=Cgroup(os.open(here, os.O_DIRECTORY), here))
    budgets = SimpleNamespace(
        start=lambda maps, _: started.append(maps), stop=lambda: None, heartbeat=lambda: None
    )
    return SimpleNamespace(root=root, budgets=budgets, registry=SimpleNamespace(calls={}))


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def test_a_kernel_that_has_it_is_probed_once_and_off_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Types of the whole kernel are read, and programs verified: that takes a while."""
    kernel, started = Kernel(monkeypatch, FORMS[0], Ops), []
    delay = KernelDelay(core(started), wanted=True)
    asyncio.run(delay.start())
    assert (delay.active, started, kernel.probed) == (True, ["the budgets"], 1)
    assert threading.get_ident() not in kernel.threads


@pytest.mark.parametrize(
    ("form", "attach", "told", "logged"),
    [
        ("this kernel has no memcg_bpf_ops", Ops, "this kernel has no", 0),
        (FORMS[0], failing(BpfError("cannot be attached")), "cannot be attached", 1),
        (FORMS[0], failing(OSError("no such file")), "no such file", 1),
    ],
)
def test_a_kernel_without_it_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, form: Form | str,
    attach: Callable[[], Ops], told: str, logged: int,
) -> None:  # fmt: skip
    """That it is missing is the rule; that it fails is worth a warning."""
    Kernel(monkeypatch, form, attach)
    delay = KernelDelay(core([]), wanted=True)
    asyncio.run(delay.start())
    assert (delay.active, told in delay.reason) == (False, True)
    assert len(caplog.messages) == logged


def test_what_is_attached_after_the_daemon_has_stopped_is_taken_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread that attaches cannot be stopped."""
    ops, begun, go = Ops(), threading.Event(), threading.Event()

    def attach() -> Ops:
        begun.set()
        go.wait()
        return ops

    async def stopped() -> bool:
        starting = asyncio.ensure_future(KernelDelay(core([]), wanted=True).start())
        await asyncio.to_thread(begun.wait)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        go.set()
        return await asyncio.to_thread(ops.closed.wait, 60)

    Kernel(monkeypatch, FORMS[0], attach)
    assert asyncio.run(stopped())


@pytest.mark.parametrize("part", ["KernelDelay.start", "Scheduler.open"])
def test_a_start_that_waits_for_the_scheduler_ends_whatever_fails(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Also by what nobody has thought of."""
    Kernel(monkeypatch, "none", Ops)
    name, method = part.split(".")
    monkeypatch.setattr(getattr(scheduling, name), method, failing(RuntimeError("a bug")))

    async def decided() -> bool:
        found = Scheduling(core([]), wanted="on", delays=True)
        with pytest.raises(RuntimeError):
            await found.run()
        return found.decided.is_set()

    assert asyncio.run(decided())
