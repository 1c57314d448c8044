# SPDX-License-Identifier: Apache-2.0
"""How the use of a leaf went over time, as Python values. Pure."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from typing import NamedTuple

from agentcg.bpf.records import CurveRecord, PointRecord

PAGE_BYTES = 4096  # page_counter counts pages; the kernels that agentcg runs on have 4 KiB
_POINT = struct.Struct("=III")


class Point(NamedTuple):
    """`t_s` since the curve began; `cpu_s` what was used up to here, in ticks."""

    t_s: float
    memory_bytes: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Points in order of time, as the kernel wrote them: most curves are kept, few looked at."""

    begun_ns: int
    """CLOCK_BOOTTIME."""
    gap_ms: int
    """Points are at least so far apart."""
    tick_ms: int
    """Length of a tick of CPU time."""
    raw: bytes

    @property
    def points(self) -> list[Point]:
        """The points. One that was being written may be half there: what goes back is left out."""
        found: list[Point] = []
        for t_ms, pages, ticks in _POINT.iter_unpack(self.raw):
            point = Point(t_ms / 1000, pages * PAGE_BYTES, ticks * self.tick_ms / 1000)
            if not found or (point.t_s > found[-1].t_s and point.cpu_s >= found[-1].cpu_s):
                found.append(point)
        return found


def curve_of(record: CurveRecord) -> Curve:
    """`record` without the room for points that it does not have yet."""
    count = min(record.count, len(record.points))
    raw = ctypes.string_at(
        ctypes.addressof(record) + CurveRecord.points.offset, count * ctypes.sizeof(PointRecord)
    )
    return Curve(record.begun_ns, record.gap_ms, record.tick_ms, raw)
