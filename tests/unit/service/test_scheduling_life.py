# SPDX-License-Identifier: Apache-2.0
"""Life and death of the scheduler in the daemon: what it does when the kernel takes it out, and
what doctor says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentcg.daemon.service.accounts.counts import Counts
from agentcg.daemon.service.scheduler import scheduling
from agentcg.daemon.service.scheduler.scheduling import Scheduling, Wanted
from support.clock import settled

CALL = object()
SESSIONS = 4711


class Loaded:
    """A scheduler that is in charge until the test says otherwise."""

    def __init__(self, *, delays: bool = True, unbounded: int = 0) -> None:
        self.why, self.faulty, self.replugged = "", False, False
        self.bounded = unbounded
        self.closed = 0
        self.memory_delay = object() if delays else None
        self.no_delay = "" if delays else "this kernel lacks x"
        self.arrivals: object = None

    def ended(self) -> str:
        return self.why

    def failed(self) -> bool:
        return self.faulty

    def must_restart(self) -> bool:
        return self.replugged

    def unbounded(self) -> int:
        return self.bounded

    def cpu_use(self, _: int) -> None: ...

    def favour(self, *_: object) -> None: ...

    def close(self) -> None:
        self.closed += 1


class Budgets:
    """What answers for them now; None: `memory.high` alone."""

    def __init__(self) -> None:
        self.backend: object = None
        self.calls: list[object] = []

    def start(self, backend: object, calls: Any) -> None:
        self.backend, self.calls = backend, list(calls)

    def stop(self) -> None:
        self.backend = None

    def heartbeat(self) -> None: ...


class Host:
    """A daemon with one call, on a kernel that loads `found`, one after the other."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *found: Loaded,
        agents_alone: bool = False,
        wanted: Wanted = "on",
    ) -> None:
        self.found, self.left = list(found), list(found)
        self.budgets = Budgets()
        core: Any = SimpleNamespace(
            budgets=self.budgets, counts=Counts(), registry=SimpleNamespace(
                calls={"c": CALL}, sessions={}
            ), root=SimpleNamespace(cgroup=SimpleNamespace(path=Path("/sessions"), id=SESSIONS)),
        )  # fmt: skip
        self.scheduling = Scheduling(core, wanted=wanted, delays=True, agents_alone=agents_alone)
        self.asked: list[Any] = []
        monkeypatch.setattr(scheduling, "LOOK_S", 0)
        monkeypatch.setattr(scheduling, "Scheduler", SimpleNamespace(open=self._open))

        async def nothing() -> None:
            """This kernel has no interface of its own."""

        monkeypatch.setattr(self.scheduling._kernel_delay, "start", nothing)

    def _open(self, **asked: Any) -> Loaded:
        self.asked.append(asked["agents_in"])
        return self.left.pop(0)

    async def lives(self, happens: Any) -> None:
        """Until the first one is loaded; then `happens`, and some looks more."""
        running = asyncio.ensure_future(self.scheduling.run())
        await self.scheduling.decided.wait()
        happens()
        for _ in range(20):  # each has the loop wait for a thread, as loading does
            await asyncio.to_thread(lambda: None)
            await settled()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def told(self, name: str = "scheduler") -> tuple[str, str]:
        """State and detail, as doctor shows them."""
        found = next(one for one in self.scheduling.controls() if one.name == name)
        return found.state, found.detail


@pytest.mark.parametrize(("faulty", "state"), [(False, "off"), (True, "degraded")])
def test_what_the_kernel_takes_out_is_not_loaded_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, faulty: bool, state: str
) -> None:
    """By SysRq-S, which is a request, or by its watchdog, which is a fault: the log and doctor have
    the kernel's reason, and budgets are not answered any more."""
    first = Loaded()
    host = Host(monkeypatch, first, Loaded())
    host.left.pop()  # nobody else is to be loaded: there is none

    def happens() -> None:
        assert (host.told(), host.budgets.calls) == (("enforced", scheduling.ALL), [CALL])
        first.why, first.faulty = "runnable task stall: x", faulty

    asyncio.run(host.lives(happens))
    assert host.told() == (state, "the kernel took it out: runnable task stall: x")
    assert host.told("memory delay") == ("off", "goes with the scheduler")
    assert "the kernel's own scheduler is back: runnable task stall: x" in caplog.text
    assert (first.closed, host.budgets.backend) == (1, None)


def test_after_a_cpu_came_or_went_it_is_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel asks for that. Budgets of calls that run are answered by the new one."""
    first, second = Loaded(), Loaded()
    host = Host(monkeypatch, first, second)

    def happens() -> None:
        first.why, first.replugged = "unregistered from the main kernel: cpu going offline", True

    asyncio.run(host.lives(happens))
    assert (first.closed, second.closed) == (1, 0)
    assert host.told() == ("enforced", scheduling.ALL)
    assert (host.budgets.backend, host.budgets.calls) == (second.memory_delay, [CALL])


def test_where_cpu_max_would_not_hold_it_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a kernel that cannot stop tasks at their return to user mode, doctor and the log say on
    how many cgroups it is set."""
    first = Loaded(unbounded=3)
    host = Host(monkeypatch, first)
    asyncio.run(host.lives(lambda: None))
    said = "cpu.max is set on 3 cgroups, and on this kernel it is not honoured"
    assert (host.told(), first.closed) == (("off", said), 1)
    assert said in caplog.text


def test_cpu_max_that_does_not_hold_any_more_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Set while it is in charge: it stays, degraded, until cpu.max is lifted."""
    first = Loaded()
    host = Host(monkeypatch, first)

    def happens() -> None:
        first.bounded = 1

    asyncio.run(host.lives(happens))
    said = "cpu.max is set on 1 cgroups, and on this kernel it is not honoured"
    assert (host.told(), first.closed) == (("degraded", f"{scheduling.ALL}; {said}"), 0)
    assert caplog.text.count(said) == 1
    first.bounded = 0
    host.scheduling._look(first)  # type: ignore[arg-type]
    assert host.told() == ("enforced", scheduling.ALL)


@pytest.mark.parametrize(
    ("online", "lacks", "said"),
    [
        (8, "", ""),
        (9, "", "on 9 CPUs, more than 8; --scheduler on does"),
        (2, "this kernel lacks x", "this kernel lacks x; --scheduler on loads it without"),
    ],
)
def test_auto_loads_it_where_it_is_suited(
    monkeypatch: pytest.MonkeyPatch, online: int, lacks: str, said: str
) -> None:
    """Where charges can be delayed, and on no more CPUs than it was measured on. Who asks for it
    has it elsewhere, too."""
    monkeypatch.setattr(scheduling, "absence", lambda: "")
    monkeypatch.setattr(scheduling, "cpus", lambda: online)
    monkeypatch.setattr(scheduling.memory_delay, "absence", lambda: lacks)
    host = Host(monkeypatch, Loaded(), wanted="auto")
    asyncio.run(host.lives(lambda: None))
    state, told = host.told()
    assert state == ("off" if said else "enforced")
    assert said in told
    asked = Host(monkeypatch, Loaded(), wanted="on")
    asyncio.run(asked.lives(lambda: None))
    assert asked.told() == ("enforced", scheduling.ALL)


def test_without_memory_delay_doctor_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler is in charge all the same."""
    host = Host(monkeypatch, Loaded(delays=False))
    asyncio.run(host.lives(lambda: None))
    assert host.told() == ("enforced", scheduling.ALL)
    assert host.told("memory delay") == ("off", "this kernel lacks x")
    assert host.budgets.backend is None


class Agents:
    """Whether agents' tasks are taken, and how often they were."""

    refused = False

    def __init__(self) -> None:
        self.taken, self.times, self.stops = False, 0, 0

    async def start(self, _: object) -> None:
        self.taken, self.times = True, self.times + 1

    async def look(self) -> None: ...

    def stop(self) -> None:
        self.stops += 1

    def give_back_now(self) -> None:
        self.taken = False


@pytest.mark.parametrize(("replugged", "times", "taken"), [(True, 2, True), (False, 1, False)])
def test_agents_are_given_back_when_nobody_is_to_take_them(
    monkeypatch: pytest.MonkeyPatch, replugged: bool, times: int, taken: bool
) -> None:
    """With the partial switch: when it is over for good, not when it is loaded again. At the
    daemon's end always."""
    first, second = Loaded(), Loaded()
    first.arrivals = second.arrivals = object()
    host = Host(monkeypatch, first, second, agents_alone=True)
    monkeypatch.setattr(scheduling, "absence", lambda: "")
    monkeypatch.setattr(scheduling, "may_change", lambda: True)
    agents: Any = Agents()
    host.scheduling._agents = agents

    def happens() -> None:
        assert (host.told(), agents.taken) == (("enforced", scheduling.AGENTS), True)
        first.why, first.replugged = "it says why", replugged

    asyncio.run(host.lives(happens))
    assert (agents.times, agents.stops, agents.taken) == (times, 1, taken)
    assert host.asked == [SESSIONS] * times
    host.scheduling.close()
    assert not agents.taken


def test_it_is_not_loaded_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that may not take agents' tasks says what it lacks."""
    host = Host(monkeypatch, Loaded(), agents_alone=True)
    monkeypatch.setattr(scheduling, "absence", lambda: "")
    monkeypatch.setattr(scheduling, "may_change", lambda: False)
    asyncio.run(host.lives(lambda: None))
    state, said = host.told()
    assert (state, host.asked) == ("off", [])
    assert "CAP_SYS_NICE" in said
