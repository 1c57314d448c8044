# SPDX-License-Identifier: Apache-2.0
"""Curves: from the kernel's record to points, packed and unpacked on the way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentcg.bpf.curves import Curve, Point, curve_of
from agentcg.bpf.records import CurveRecord
from agentcg.daemon.service.accounts.curves import pack, unpack
from support.examples import NOW, a_call


def record(*points: tuple[int, int, int], count: int | None = None) -> CurveRecord:
    made = CurveRecord(begun_ns=2_000_000_000, gap_ms=10, tick_ms=10)
    for index, (t_ms, pages, ticks) in enumerate(points):
        made.points[index].t_ms = t_ms
        made.points[index].pages = pages
        made.points[index].ticks = ticks
    made.count = len(points) if count is None else count
    return made


def test_points_are_in_units() -> None:
    """Seconds, bytes of 4 KiB pages, seconds of CPU by ticks."""
    assert curve_of(record((0, 256, 1), (30, 512, 3))).points == [
        Point(0.0, 1 << 20, 0.01), Point(0.03, 2 << 20, 0.03),
    ]  # fmt: skip


def test_a_point_that_was_being_written_is_left_out() -> None:
    """Time and CPU never go back in a curve."""
    half = record((0, 1, 1), (50, 2, 5), (20, 3, 6), (60, 3, 4), (70, 4, 7))
    assert [point.t_s for point in curve_of(half).points] == [0.0, 0.05, 0.07]


@given(st.integers(0, 1 << 32 - 1))
def test_no_count_reads_beyond_the_points(count: int) -> None:
    """Whatever the kernel's record says, there are no more points than it has room for."""
    assert len(curve_of(record((0, 1, 1), count=count)).raw) <= 256 * 12


def test_a_curve_comes_back_with_the_time_of_the_call() -> None:
    """Packed and unpacked, times are since the call began, and CPU adds up to the account's."""
    call = a_call()
    seen = curve_of(record((0, 256, 1), (500, 512, 3)))
    packed = pack(seen, boot_time=call.begun_at + 0.25 - 2.0, has_memory=True)
    found = unpack(packed, call)
    assert (found.call, found.begun_at, found.gap_s) == (call.id, NOW - 12, 0.01)
    assert [(p.t_s, p.memory_bytes, p.cpu_s) for p in found.points] == [
        (0.25, 1 << 20, 3.88), (0.75, 2 << 20, 11.64),
    ]  # fmt: skip


def test_without_the_memory_controller_memory_is_not_known() -> None:
    """Not zero: None."""
    packed = pack(curve_of(record((0, 0, 1))), 0.0, has_memory=False)
    assert unpack(packed, a_call()).points[0].memory_bytes is None


@given(st.none() | st.binary(max_size=64))
def test_whatever_is_no_curve_has_points_or_none(packed: bytes | None) -> None:
    """What came back damaged from a disk breaks nothing."""
    assert isinstance(unpack(packed, a_call()).points, list)


def test_raw_points_are_what_the_kernel_wrote() -> None:
    """Nothing is converted until somebody looks."""
    assert curve_of(record((1, 2, 3))) == Curve(
        2_000_000_000, 10, 10, bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])
    )
