# SPDX-License-Identifier: Apache-2.0
"""Budgets as they are written: bounded, whole or not at all, and refused in words."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from agentcg.bpf import btf, memcg_ops, memory_delay, scheduler
from agentcg.bpf.budgets import MAX_DELAY_NS, BudgetMaps
from agentcg.errors import BpfError

MIB = 1 << 20
HOUR_NS = 3600 * 1_000_000_000


class Map:
    """A map that has room for so many entries."""

    def __init__(self, room: int) -> None:
        self.entries: dict[int, Any] = {}
        self._room = room

    def put(self, key: int, value: Any) -> None:
        if key not in self.entries and len(self.entries) == self._room:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        self.entries[key] = value

    def remove(self, key: int) -> None:
        self.entries.pop(key, None)


class Opened:
    """A loaded object with such maps."""

    def __init__(self, **room: int) -> None:
        self.maps = {name: Map(room.get(name, 9)) for name in ("budgets", "delays")}
        self.maps[".data.control"] = Map(1)

    def map(self, name: str, *_: object) -> Any:
        return self.maps[name]


def budgets_in(opened: Any) -> BudgetMaps:
    return BudgetMaps(opened)


@pytest.mark.parametrize(("asked", "kept"), [(0, 0), (1, 1), (HOUR_NS, MAX_DELAY_NS)])
def test_a_delay_is_two_seconds_at_most(
    asked: int, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An hour is taken as two seconds, and the log says so; none holds nobody up."""
    opened = Opened()
    budgets_in(opened).set(7, MIB, 0, "low", asked)
    assert opened.maps["budgets"].entries[7].max_delay_ns == kept
    assert caplog.messages == (["a delay of 3600 s is taken as 2 s"] if asked > kept else [])


@pytest.mark.parametrize("full", ["budgets", "delays"])
def test_a_full_map_is_said_and_leaves_no_half_of_a_budget(full: str) -> None:
    """The most that there can be is named; the ones that are there stay and may change."""
    opened = Opened(**{full: 1})
    budgets = budgets_in(opened)
    budgets.set(1, MIB, 0, "low")
    with pytest.raises(BpfError, match=r"no budget for cgroup 2: .*16384 budgets are the most"):
        budgets.set(2, MIB, 0, "low")
    budgets.set(1, 2 * MIB, 0, "low")
    assert opened.maps["budgets"].entries.keys() == opened.maps["delays"].entries.keys() == {1}
    assert opened.maps["budgets"].entries[1].soft_bytes == 2 * MIB


class Kernel:
    """Type information of a kernel that has these functions and no others."""

    def __init__(self, *functions: str) -> None:
        self._functions = functions

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None: ...

    def has_function(self, name: str) -> bool:
        return name in self._functions


def test_a_kernel_on_which_charges_cannot_be_seen_is_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the function that charges there is no delay, but cpu.max is honoured all the same."""
    stops_only = Kernel(*memory_delay.TO_STOP)
    monkeypatch.setattr(btf.Btf, "vmlinux", lambda: stops_only)
    assert memory_delay.absence() == (
        "this kernel lacks page_counter_try_charge (Linux 7.0 has them)"
    )
    assert memory_delay.cannot_stop() == ""


@pytest.mark.parametrize(
    "asked", [memory_delay.absence, memory_delay.cannot_stop, scheduler.absence, memcg_ops.probe]
)
def test_a_kernel_without_type_information_says_what_it_needs(
    asked: Callable[[], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Whatever is asked: the file that is missing, and the option that makes it."""

    def missing() -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "kernel BTF")

    monkeypatch.setattr(scheduler, "SCHED_EXT", tmp_path)
    monkeypatch.setattr(btf.Btf, "vmlinux", missing)
    assert asked() == "kernel BTF: No such file or directory; CONFIG_DEBUG_INFO_BTF=y is needed"
